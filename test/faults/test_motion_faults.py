"""Faults 1 to 7, 22 to 27, 29 and 32 against a driver in another process, judged by what that driver recorded.

Each is played twice: as it is, and without the guard that it names, when the oracle must object. Times are taken in the
driver's process. Where the machine kept robot_node and driver waiting for a processor, limits are longer by that; both
run at a higher priority where this is permitted.
"""

from __future__ import annotations

import pytest

from test.faults.scenarios import SCENARIOS
from test.ros.conftest import Ros

_ATTEMPTS = 3
_STARVED = 0.02
"""Limits are longer by what the machine kept the arm's stack waiting: where that is more than this [s], they may be so
long that even an unguarded arm keeps them, which proves nothing; it is played again."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_arm_is_safe(ros: Ros, name: str) -> None:
    scenario = SCENARIOS[name]
    outcome = scenario.play(scenario.stage(ros))
    print(f"fault {scenario.number}, {name}: {outcome}")
    assert outcome.complaints == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_its_guard_the_oracle_objects(ros: Ros, name: str) -> None:
    scenario = SCENARIOS[name]
    for _ in range(_ATTEMPTS):
        stage = scenario.stage(ros, guarded=False)
        outcome = scenario.play(stage)
        print(f"fault {scenario.number}, {name} without {scenario.without}: {outcome}; {outcome.complaints}")
        if outcome.complaints or outcome.stall < _STARVED:
            break
        stage.close()
    assert outcome.complaints != []
