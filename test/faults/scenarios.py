"""Faults 1 to 7, 22 to 27, 29 and 32 as scenarios on one stage: what is done to it, and what must follow.

Each names the guard that saves the arm, so that the same scenario can be played without it. Numbers are those of the
project's list of faults; times are promised in docs/SAFETY.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from test.faults.command_scenarios import (
    out_of_the_box,
    policy_killed,
    policy_stopped,
    slow_inference,
    too_fast,
    two_commanders,
    wrong_frame,
    wrong_numbers,
    wrong_stamps,
)
from test.faults.stage import PATIENT, Outcome, Stage
from test.faults.stop_scenarios import (
    clock,
    clock_leaps,
    interrupted,
    motor_dead,
    robot_killed,
    states_jump,
    states_lost,
    stop_button,
    stop_service,
)
from test.ros.conftest import Ros


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A fault."""

    number: int
    what: str
    """In plain English."""
    promise: str
    play: Callable[[Stage], Outcome]
    without: str
    """Guards that are switched off to see that they matter (unguarded.py)."""
    overrides: tuple[str, ...] = ()
    simulated_time: bool = False
    axis: int = 1
    """Along which the commander moves."""
    fresh: bool = False
    """Whether a stage that has seen this fault is not to be used again."""

    def stage(self, ros: Ros, *overrides: str, guarded: bool = True) -> Stage:
        """Everything that the fault needs, started."""
        without = "" if guarded else self.without
        return Stage(
            ros,
            *overrides,
            *self.overrides,
            without=without,
            simulated_time=self.simulated_time,
            commander={"axis": self.axis},
        )


_CALM = ("gate.policy_lease=3.0",)
"""Where the loss of the policy is not what is judged."""

SCENARIOS: dict[str, Scenario] = {
    "policy_killed": Scenario(
        1, "kill -9 of the policy amid a motion", "HOLD within 200 ms, until a reset", policy_killed, "lease,expiry",
        PATIENT),
    "policy_stopped": Scenario(
        2, "the policy stands still for 2 s (SIGSTOP) and goes on", "HOLD within 200 ms; its old commands move nothing",
        policy_stopped, "lease,expiry,stamp", PATIENT),
    "wrong_stamps": Scenario(
        3, "commands for an observation 1 s old, and 1 s in the future", "refused; the last good command expires",
        wrong_stamps, "stamp", (*PATIENT, *_CALM)),
    "wrong_numbers": Scenario(
        4, "commands with NaN and infinity", "refused; HOLD; the node lives", wrong_numbers, "numbers",
        (*PATIENT, *_CALM)),
    "wrong_frame": Scenario(
        4, "commands in another frame, or with a rotation", "refused; the last good command expires", wrong_frame,
        "frame", (*PATIENT, *_CALM)),
    "too_fast": Scenario(
        5, "commands of ten times the largest step", "clamped to one step; joint speeds kept", too_fast, "clamp",
        (*PATIENT, *_CALM)),
    "out_of_the_box": Scenario(
        6, "commands out of the workspace, at each of its six faces", "stopped at the face, without swinging",
        out_of_the_box, "box", (*PATIENT, *_CALM)),
    "two_commanders": Scenario(
        7, "a second process sends commands, too", "refused; never interleaved", two_commanders, "sender",
        (*PATIENT, *_CALM, "gate.expiry_periods=5.0"), fresh=True),
    "states_lost": Scenario(
        22, "joint states fall silent", "STOPPED within 200 ms", states_lost, "states", ()),
    "states_jump": Scenario(
        23, "all joint states jump to one value, freshly stamped", "STOPPED within 200 ms; the arm does not go there",
        states_jump, "jumps", PATIENT),
    "motor_dead": Scenario(
        24, "one motor is dead", "STOPPED within 500 ms", motor_dead, "follow,expiry,lease", PATIENT, axis=0),
    "stop_service": Scenario(
        25, "`stop` amid a step, and amid a reset", "held within 100 ms; STOPPED until `clear_stop` and a reset",
        stop_service, "stop", (*PATIENT, *_CALM)),
    "stop_button": Scenario(
        25, "the stop button is pressed, or falls silent; then it is released", "held within 100 ms; stays STOPPED",
        stop_button, "button", (*PATIENT, *_CALM, "gate.button_timeout=2.0"), fresh=True),
    "robot_killed": Scenario(
        26, "kill -9 of robot_node, the gate itself", "the step under way ends, the driver holds, nothing moves it",
        robot_killed, "bounded", PATIENT),
    "clock_stops": Scenario(
        27, "the ROS clock stands still", "STOPPED as soon as states are too old by the steady clock", clock("stop"),
        "steady,expiry,lease", (*_CALM, "driver.stale_after=0.3"), True, fresh=True),
    "clock_jumps_back": Scenario(
        27, "the ROS clock jumps back by 10 s", "STOPPED as soon as states are too old by the steady clock",
        clock("shift:-10"), "steady,expiry,lease", (*_CALM, "driver.stale_after=0.3"), True, fresh=True),
    "clock_leaps": Scenario(
        27, "the ROS clock leaps by an hour, then the policy dies", "no burst; HOLD within 200 ms", clock_leaps,
        "lease,expiry,states,jumps", PATIENT, True, fresh=True),
    "interrupted": Scenario(
        29, "Ctrl+C twice amid a motion", "parked or held, within all limits; exit code 0", interrupted, "park,bounded",
        PATIENT),
    "slow_inference": Scenario(
        32, "inference takes three control periods", "refused; the last good command expires and is not repeated",
        slow_inference, "expiry,stamp", (*PATIENT, *_CALM)),
}  # fmt: skip
"""Every fault that ends in a hold, by name."""

SOAK = ("policy_killed", "policy_stopped", "wrong_stamps", "wrong_numbers", "wrong_frame", "too_fast", "out_of_the_box",
        "states_lost", "states_jump", "motor_dead", "stop_service", "robot_killed", "interrupted",
        "slow_inference")  # fmt: skip
"""What a soak draws from: faults after which the same stage goes on."""
