"""Faults 1 to 7, 22 to 27, 29 and 32 as scenarios on one stage: what is done to it, and what must follow.

Each names the guard that saves the arm, so that the same scenario can be played without it. Numbers are those of the
project's list of faults; times are promised in docs/SAFETY.md.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable

import numpy as np

from meld_ros import conversions as msgs
from test.faults.driver_bench import SCRIPTS
from test.faults.oracle import BRAKING
from test.faults.stage import PATIENT, Outcome, Stage
from test.ros.conftest import Ros

LOST = 0.2
"""From the loss of a policy or of joint states to the hold [s]."""
STOP = 0.1
"""From a call of `stop` to the hold [s]."""
DEAD_MOTOR = 0.5
"""From the first command to a dead motor to the hold [s]."""
DRIVER = SCRIPTS["ros2_control"]
_ASIDE = 0.006
"""A tool that is led along y alone stays within this of its line [m]."""
SLACK = 0.1
"""Between what expires and the hold at the driver [s]: a watchdog of 20 ms, DDS, the driver's own period."""


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


def expiry(stage: Stage) -> float:
    """When a command that nothing follows has expired [s]."""
    return stage.config.gate.expiry_periods * stage.config.robot.control_period


def policy_killed(stage: Stage) -> Outcome:
    stage.moving()
    return stage.judge(stage.fault(stage.commander.kill), LOST)


def policy_stopped(stage: Stage) -> Outcome:
    """SIGSTOP for 2 s. What the policy says when it goes on is too old: nothing moves before the next reset."""
    stage.moving()
    at = stage.fault(lambda: stage.commander.send_signal(signal.SIGSTOP))
    outcome = stage.judge(at, LOST, watch=2.0 - LOST)
    if outcome.complaints:
        return outcome
    stage.commander.send_signal(signal.SIGCONT)
    again = stage.fault(lambda: None)
    stage.until(lambda: stage.recording.next_way(again) < np.inf, "the next reset")
    burst = [c for c in stage.recording.between(again, stage.recording.next_way(again)) if c.moves and not c.is_way]
    if burst:
        outcome.complaints.append(f"{len(burst)} old commands moved the arm")
    stage.moving()
    stage.conclude(outcome)
    return outcome


def _refused(stage: Stage, word: str, said: str) -> Outcome:
    """Commands that are all wrong: the arm holds by the last good one's expiry, each is said, good ones go on."""
    stage.moving()
    at = stage.inject(word)
    limit = expiry(stage) + SLACK
    outcome = stage.judge(at, limit, watch=1.5)
    if outcome.complaints:
        return outcome
    stage.ros.until(lambda: any(said in line for line in stage.listener.said), said)
    stage.inject("")
    stage.steps(2, stage.recording.now)
    return outcome


def _worst(outcomes: list[Outcome]) -> Outcome:
    """Of several, the longest times and everything that was complained about."""
    worst = outcomes[-1]
    worst.stop = max((o.stop for o in outcomes if o.stop is not None), default=None)
    worst.rest = max((o.rest for o in outcomes if o.rest is not None), default=None)
    worst.complaints = [complaint for outcome in outcomes for complaint in outcome.complaints]
    return worst


def _all_refused(stage: Stage, words: tuple[tuple[str, str], ...]) -> Outcome:
    outcomes: list[Outcome] = []
    for word, said in words:
        outcomes.append(_refused(stage, word, said))
        if outcomes[-1].complaints:
            break
    return _worst(outcomes)


def wrong_stamps(stage: Stage) -> Outcome:
    words = (("stale", "s ago, at most"), ("future", "s in the future, at most"))
    return _all_refused(stage, words)


def wrong_numbers(stage: Stage) -> Outcome:
    words = (("nan", "finite numbers"), ("inf", "finite numbers"))
    return _all_refused(stage, words)


def wrong_frame(stage: Stage) -> Outcome:
    words = (("frame", "frame 'wrist'"), ("rotation", "with a rotation"))
    return _all_refused(stage, words)


def too_fast(stage: Stage) -> Outcome:
    """Ten times a step: each command's way stays that of one step, which is counted, and no joint is too fast."""
    stage.moving()
    stage.inject("fast")
    began = stage.recording.now + stage.config.robot.control_period
    stage.lasts(3.0)
    outcome = stage.conclude()
    tips = stage.recording.ticks(began)
    later = np.searchsorted(tips[:, 0], tips[:, 0] + stage.config.robot.control_period)
    inside = later < len(tips)
    ways = np.linalg.norm(tips[later[inside], 7:10] - tips[inside, 7:10], axis=1)
    if ways.max() > 2.0 * stage.config.robot.step_size:
        outcome.complaints.append(f"the tool went {1000 * ways.max():.0f} mm within one control period")
    if ways.max() < 0.4 * stage.config.robot.step_size:
        outcome.complaints.append("the arm did not move at all")
    return outcome


def out_of_the_box(stage: Stage) -> Outcome:
    """To each of the six faces: it is reached, not passed, and the arm does not swing there."""
    stage.moving()
    outcome = Outcome()
    faces = [(axis, sign) for axis in range(3) for sign in (-1, 1)]
    for axis, sign in faces:
        face = (stage.bounds.lower if sign < 0 else stage.bounds.upper)[axis]
        stage.inject(f"push:{axis},{sign}")

        def there(axis: int = axis, sign: int = sign, face: float = face) -> bool:
            return bool(sign * (stage.recording.ticks(stage.recording.now - 0.05)[-1, 7 + axis] - face) > -0.004)

        stage.until(there, f"face {axis} {sign}")
        stage.lasts(0.8)
        at_rest = stage.recording.ticks(stage.recording.now - 0.3)[:, 7 + axis]
        if np.ptp(at_rest) > 0.002:
            outcome.complaints.append(f"the tool swings by {1000 * np.ptp(at_rest):.1f} mm at face {axis} {sign}")
        if stage.conclude(outcome).complaints:
            break
    return outcome


def two_commanders(stage: Stage) -> Outcome:
    """The first moves along y alone; whatever the second wants, x and z stay."""
    stage.moving()
    second = stage.start_commander(axis=0, leads=False)
    stage.ros.until(lambda: stage.listener.node.count_publishers("action") == 2, "the second commander")
    began = stage.recording.now

    def moved() -> float:
        return float(np.ptp(stage.recording.ticks(began)[:, 7]))

    def judged() -> bool:
        return moved() > _ASIDE or any("owns the arm" in line for line in stage.listener.said)

    stage.until(judged, "the second commander's refusal, or its motion")
    stage.steps(8, stage.recording.now)
    outcome = stage.conclude()
    if moved() > _ASIDE:
        outcome.complaints.append(f"the second commander moved the tool by {1000 * moved():.0f} mm")
    second.kill()
    return outcome


def _stays_stopped(stage: Stage, outcome: Outcome, since: float) -> Outcome:
    """Nothing that a commander says or asks for moves a STOPPED arm; after `clear_stop` only a reset does."""
    stage.lasts(1.5)
    if stage.recording.next_way(since) < np.inf:
        outcome.complaints.append("a stopped arm was reset")
        return outcome
    _, cleared, message = stage.call(msgs.CLEAR_STOP)
    if not cleared:
        outcome.complaints.append(f"clear_stop was refused: {message}")
    at = time.monotonic()
    stage.moving()
    early = [
        command
        for command in stage.recording.between(since, stage.recording.next_way(at))
        if command.moves and not command.is_way
    ]
    if early and early[-1].at > since + STOP + outcome.stall:
        outcome.complaints.append("the arm moved before its reset")
    return stage.conclude(outcome)


def stop_service(stage: Stage) -> Outcome:
    """Amid a step, and amid the way of a reset."""
    stage.moving()
    at, _, _ = stage.call(msgs.STOP)
    outcome = stage.judge(at, STOP, watch=0.6)
    if outcome.complaints:
        return outcome
    outcome = _stays_stopped(stage, outcome, at)
    if outcome.complaints:
        return outcome
    again, _, _ = stage.call(msgs.STOP)
    stage.call(msgs.CLEAR_STOP)
    stage.until(lambda: stage.recording.next_way(again) < np.inf, "the way of a reset")
    at, _, _ = stage.call(msgs.STOP)
    return _worst([outcome, stage.judge(at, STOP, watch=0.6)])


def stop_button(stage: Stage) -> Outcome:
    """Pressed and released; then silent and back: the arm stays stopped each time."""
    button = stage.beat("button")
    stage.ros.until(lambda: stage.listener.node.count_publishers("stop_button") == 1, "the button")
    stage.ros.until(lambda: stage.call(msgs.CLEAR_STOP)[1], "a button that is heard")
    stage.moving()
    at = stage.inject("pressed", "beat")
    outcomes = [stage.judge(at, STOP, watch=0.6)]
    stage.inject("", "beat")
    if not outcomes[0].complaints:
        outcomes[0] = _stays_stopped(stage, outcomes[0], at)
    if outcomes[0].complaints:
        return outcomes[0]
    at = stage.fault(lambda: button.send_signal(signal.SIGSTOP)) + stage.config.gate.button_timeout
    outcomes.append(stage.judge(at, STOP, watch=0.6))
    button.send_signal(signal.SIGCONT)
    stage.lasts(1.0)
    if stage.recording.next_way(at) < np.inf:
        outcomes[-1].complaints.append("the arm was reset when the button was heard again")
    return _worst(outcomes)


def robot_killed(stage: Stage) -> Outcome:
    """Nobody is left to hold: the step under way ends by itself, and no policy can move the arm."""
    stage.moving()
    at = stage.fault(stage.robot.kill)
    return stage.judge(at, stage.config.robot.control_period + BRAKING, watch=2.0, by_rest=True)


def _clock(word: str) -> Callable[[Stage], Outcome]:
    def play(stage: Stage) -> Outcome:
        stage.moving()
        at = stage.inject(word, "beat")
        limit = stage.config.driver.stale_after + SLACK
        return stage.judge(at, limit, watch=1.5)

    return play


def clock_leaps(stage: Stage) -> Outcome:
    """The clock leaps by an hour, and then the policy dies: what watches on steady time still does."""
    stage.moving()
    at = stage.inject("shift:3600", "beat")
    stage.lasts(1.5)
    burst = [command for command in stage.recording.between(at) if command.moves]
    dead = stage.fault(stage.commander.kill)
    outcome = stage.judge(dead, LOST)
    if outcome.stop is None and stage.recording.held_at(at) is not None:  # the leap itself had stopped it
        outcome = Outcome(stop=stage.recording.held_at(at), limit=LOST)
        assert outcome.stop is not None
        outcome.stop -= at
        outcome = stage.conclude(outcome)
    if len(burst) > 2 + 1.5 / stage.config.robot.control_period:
        outcome.complaints.append(f"a burst of {len(burst)} commands")
    return outcome


def slow_inference(stage: Stage) -> Outcome:
    """Answers take three control periods: too old, refused, and the last good command has expired meanwhile."""
    stage.moving()
    at = stage.inject(f"late:{3 * stage.config.robot.control_period}")
    outcome = stage.judge(at, expiry(stage) + SLACK, watch=3.0)
    if not outcome.complaints:
        stage.ros.until(lambda: any("s ago, at most" in line for line in stage.listener.said), "the refusal")
    return outcome


def interrupted(stage: Stage) -> Outcome:
    """SIGINT, and at once another one: the arm is parked or held, within its speed, and never dropped."""
    stage.moving()

    def twice() -> None:
        stage.robot.send_signal(signal.SIGINT)
        stage.robot.send_signal(signal.SIGINT)

    at = stage.fault(twice)
    outcome = stage.judge(at, 8.0, watch=1.0, by_rest=True, resumes=True)
    if stage.robot.poll() != 0:
        outcome.complaints.append(f"robot_node: {stage.robot.poll()}")
    if not any(not command.moves or command.is_way for command in stage.recording.between(at)):
        outcome.complaints.append("nobody told the arm to hold or to park")
    return outcome


def states_lost(stage: Stage) -> Outcome:
    stage.moving()
    at = stage.inject("silence", DRIVER)
    patience = stage.config.driver.stale_after
    within = LOST if patience + SLACK <= LOST else min(patience, expiry(stage)) + SLACK  # a patient stage: the expiry
    return stage.judge(at, within, watch=1.5)


def states_jump(stage: Stage) -> Outcome:
    stage.moving()
    at = stage.inject("jump:-3.1416", DRIVER)
    return stage.judge(at, LOST, watch=1.5)


def motor_dead(stage: Stage) -> Outcome:
    """The elbow jams while the tool goes to and fro: counted from the first command after that.

    The other joints carry the tool off its line, and perhaps out of the box, until this is noticed.
    """
    stage.excused.add("outside the box")
    stage.moving()
    began = stage.inject("dead:elbow", DRIVER)
    stage.until(lambda: any(c.moves for c in stage.recording.between(began)), "a command to the dead motor")
    at = next(c.at for c in stage.recording.between(began) if c.moves)
    return stage.judge(at, DEAD_MOTOR, watch=1.5)


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
        27, "the ROS clock stands still", "STOPPED as soon as states are too old by the steady clock", _clock("stop"),
        "steady,expiry,lease", (*_CALM, "driver.stale_after=0.3"), True, fresh=True),
    "clock_jumps_back": Scenario(
        27, "the ROS clock jumps back by 10 s", "STOPPED as soon as states are too old by the steady clock",
        _clock("shift:-10"), "steady,expiry,lease", (*_CALM, "driver.stale_after=0.3"), True, fresh=True),
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
