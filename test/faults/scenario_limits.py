"""How soon an arm must hold after a fault, and the worst of several outcomes."""

from __future__ import annotations

from test.faults.stage import Outcome, Stage

LOST = 0.2
"""From the loss of a policy or of joint states to the hold [s]."""
STOP = 0.1
"""From a call of `stop` to the hold [s]."""
DEAD_MOTOR = 0.5
"""From the first command to a dead motor to the hold [s]."""
SLACK = 0.1
"""Between what expires and the hold at the driver [s]: a watchdog of 20 ms, DDS, the driver's own period."""


def expiry(stage: Stage) -> float:
    """When a command that nothing follows has expired [s]."""
    return stage.config.gate.expiry_periods * stage.config.robot.control_period


def worst_of(outcomes: list[Outcome]) -> Outcome:
    """Of several, the longest times and everything that was complained about."""
    worst = outcomes[-1]
    worst.stop = max((o.stop for o in outcomes if o.stop is not None), default=None)
    worst.rest = max((o.rest for o in outcomes if o.rest is not None), default=None)
    worst.complaints = [complaint for outcome in outcomes for complaint in outcome.complaints]
    return worst
