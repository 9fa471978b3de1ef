"""Faults 22 to 27 and 29: an arm's driver that fails, stops, a gate that dies, clocks, Ctrl+C."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import numpy as np

from meld_ros import conversions as msgs
from test.faults.driver_bench import SCRIPTS
from test.faults.oracle import BRAKING
from test.faults.scenario_limits import DEAD_MOTOR, LOST, SLACK, STOP, expiry, worst_of
from test.faults.stage import Outcome, Stage

DRIVER = SCRIPTS["ros2_control"]


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
    return worst_of([outcome, stage.judge(at, STOP, watch=0.6)])


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
    return worst_of(outcomes)


def robot_killed(stage: Stage) -> Outcome:
    """Nobody is left to hold: the step under way ends by itself, and no policy can move the arm."""
    stage.moving()
    at = stage.fault(stage.robot.kill)
    return stage.judge(at, stage.config.robot.control_period + BRAKING, watch=2.0, by_rest=True)


def clock(word: str) -> Callable[[Stage], Outcome]:
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
