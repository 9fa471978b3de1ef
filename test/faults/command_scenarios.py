"""Faults 1 to 7 and 32: a policy that dies, stands still or is slow, commands that are wrong, two commanders."""

from __future__ import annotations

import signal

import numpy as np

from test.faults.scenario_limits import LOST, SLACK, expiry, worst_of
from test.faults.stage import Outcome, Stage

_ASIDE = 0.006
"""A tool that is led along y alone stays within this of its line [m]."""


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


def _all_refused(stage: Stage, words: tuple[tuple[str, str], ...]) -> Outcome:
    outcomes: list[Outcome] = []
    for word, said in words:
        outcomes.append(_refused(stage, word, said))
        if outcomes[-1].complaints:
            break
    return worst_of(outcomes)


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


def slow_inference(stage: Stage) -> Outcome:
    """Answers take three control periods: too old, refused, and the last good command has expired meanwhile."""
    stage.moving()
    at = stage.inject(f"late:{3 * stage.config.robot.control_period}")
    outcome = stage.judge(at, expiry(stage) + SLACK, watch=3.0)
    if not outcome.complaints:
        stage.ros.until(lambda: any("s ago, at most" in line for line in stage.listener.said), "the refusal")
    return outcome
