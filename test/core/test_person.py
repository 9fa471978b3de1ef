"""A person at the robot's side: resets by hand, tasks set up by hand, clients that come, go and vanish."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lockstep_ring import SMALL, FakeBench

from meld_core.announce import Announcement, EpisodeKey, GateReport
from meld_core.gate_checks import Verdict
from meld_core.host import PersonDuties, PersonError
from meld_core.hosting import LockstepHost, RealtimeHost
from meld_core.robot import GateState, MotionGate
from meld_core.schedule import Schedule

TASK = Schedule(SMALL).plan(0).task
PERIOD = 250_000_000
RIGHT = np.array([0.5, 0.0, 0.0], np.float32)


def announcement(trial: int = 0, episode: int = 0, by: str = "policy") -> Announcement:
    return Announcement(EpisodeKey("run", "boot", trial, episode), TASK, by)


class Bench:
    """A host over a robot that obeys at once, with a clock that the test moves."""

    def __init__(self, mode: str = "lockstep", **duties: bool) -> None:
        self.now = 100.0
        self.robot = FakeBench()
        robot_config = dataclasses.replace(SMALL.robot, mode=mode)
        self.gate = MotionGate(self.robot, SMALL.gate, robot_config, lambda: self.now)
        person = PersonDuties(**{"resets": True, **duties}, patience=0.15)
        self.host = (
            LockstepHost(self.robot, self.gate, SMALL.gate, lambda: self.now, person)
            if mode == "lockstep"
            else RealtimeHost(self.robot, self.gate, person, lambda: self.now)
        )

    @property
    def report(self) -> GateReport:
        return self.host.report

    def ask(self, said: Announcement) -> bool:
        """Announce, and ask for the reset; whether a step is to be published."""
        self.host.announce(said)
        assert self.host.request_reset() == ""
        return self.host.run_reset()

    def drag(self, sender: str = "rviz") -> Verdict | None:
        """One command of a person's client for the newest step."""
        assert self.host.step is not None
        return self.host.command(RIGHT, self.host.step.state.stamp, sender, GateState.TELEOP)


def test_a_reset_waits_for_a_person_and_the_episode_begins_where_the_arm_was_left() -> None:
    bench = Bench()
    assert bench.ask(announcement()), "the step is published: whoever moves the arm must see where it is"
    assert (bench.report.state, bench.report.reset_stamp) == (GateState.TELEOP, 0)
    assert bench.report.waits_for == "a person to bring the arm to its start pose (trial 1, episode 1): reset_done"
    assert bench.robot.begun == [False]
    verdict = bench.drag()
    assert verdict is not None
    assert verdict.executed.tolist() == [0.5, 0.0, 0.0]
    assert bench.robot.position.tolist() == pytest.approx([0.31, 0.0, 0.07])
    assert bench.host.reset_done()
    assert bench.robot.begun == [False, True]
    # entered at 11 periods, moved to 12, the episode begins at 13
    assert (bench.report.state, bench.report.reset_stamp) == (GateState.POLICY, 13 * PERIOD)
    assert (bench.report.waits_for, bench.gate.owner) == ("", None)


def test_the_policy_asks_again_and_again_and_nothing_moves() -> None:
    bench = Bench()
    bench.ask(announcement())
    for _ in range(3):
        assert bench.host.request_reset() == ""
        assert not bench.host.run_reset()
    assert bench.report.state is GateState.TELEOP
    assert bench.robot.begun == [False]


def test_neither_commands_in_the_other_s_state() -> None:
    bench = Bench()
    bench.ask(announcement())
    assert bench.host.step is not None
    verdict = bench.host.command(RIGHT, bench.host.step.state.stamp, "policy")
    assert verdict is not None
    assert (verdict.accepted, verdict.kind) == (False, "state")
    bench.host.reset_done()
    verdict = bench.drag()
    assert verdict is not None
    assert (verdict.accepted, verdict.kind) == (False, "state")
    assert bench.robot.applied == []


def test_fault_30_a_second_client_is_refused_until_the_first_lets_go() -> None:
    bench = Bench()
    bench.ask(announcement())
    bench.drag("rviz")
    verdict = bench.drag("keyboard")
    assert verdict is not None
    assert (verdict.kind, verdict.reason) == ("sender", "'keyboard' commands while 'rviz' owns the arm")
    bench.host.let_go("key")
    verdict = bench.drag("keyboard")
    assert verdict is not None
    assert not verdict.accepted, "only the owner lets go"
    holds = bench.robot.holds
    bench.host.let_go("rv")
    assert bench.robot.holds == holds + 1
    assert bench.report.state is GateState.TELEOP
    verdict = bench.drag("keyboard")
    assert verdict is not None
    assert verdict.accepted


@pytest.mark.parametrize("mode", ["lockstep", "realtime"])
def test_fault_30_a_client_that_falls_silent_leaves_a_holding_arm(mode: str) -> None:
    """Heard at 100.0 s; lost after more than 0.15 s, however often its last command is looked at."""
    bench = Bench(mode)
    look = bench.host.watch if isinstance(bench.host, RealtimeHost) else bench.host.tick
    bench.ask(announcement())
    bench.drag()
    bench.now = 100.14
    look()
    assert bench.report.state is GateState.TELEOP
    bench.now = 100.16
    look()
    assert bench.report.state is GateState.HOLD
    assert bench.report.reason == "the person's client was lost; start_reset takes the arm again"
    assert bench.host.request_reset() == ""
    assert not bench.host.run_reset()
    assert bench.report.state is GateState.HOLD, "only a person takes it again"
    assert bench.report.waits_for.endswith("reset_done")
    assert bench.host.start_reset()
    assert bench.report.state is GateState.TELEOP


@pytest.mark.parametrize("mode", ["lockstep", "realtime"])
def test_the_same_command_again_is_a_sign_of_life_and_no_motion(mode: str) -> None:
    bench = Bench(mode)
    look = bench.host.watch if isinstance(bench.host, RealtimeHost) else bench.host.tick
    bench.ask(announcement())
    assert bench.host.step is not None
    stamp = bench.host.step.state.stamp
    bench.drag()
    for tenth in range(1, 4):
        bench.now = 100.0 + 0.1 * tenth
        assert bench.host.command(RIGHT, stamp, "rviz", GateState.TELEOP) is None
        look()
    assert bench.report.state is GateState.TELEOP
    assert len(bench.robot.applied) == 1
    assert bench.gate.counters["repeated"] == 0


def test_another_client_keeps_nobody_alive() -> None:
    bench = Bench()
    bench.ask(announcement())
    bench.drag("rviz")
    bench.now = 100.16
    bench.drag("keyboard")
    bench.host.tick()
    assert bench.report.state is GateState.HOLD


def test_a_task_is_set_up_before_its_first_episode_only() -> None:
    bench = Bench(sets_up=True, resets=False)
    assert not bench.ask(announcement())
    assert bench.report.state is GateState.HOLD
    x, y, _ = TASK.box_position
    assert bench.report.waits_for == (
        f"a person to set up task '{TASK.id}': box at x {1000 * x:.0f}, y {1000 * y:.0f} mm, turned by "
        f"{TASK.box_yaw:.2f} rad, the cable in port {TASK.live + 1} of 3 (trial 1, episode 1): next_task"
    )
    with pytest.raises(PersonError, match="the task must be set up first: next_task"):
        bench.host.reset_done()
    assert bench.host.next_task()
    assert bench.report.state is GateState.POLICY
    assert bench.ask(announcement(episode=1))
    assert bench.report.state is GateState.POLICY
    with pytest.raises(PersonError, match="nobody waits for a task"):
        bench.host.next_task()


def test_a_bench_that_stays_as_it_is_needs_nobody_and_a_moved_cable_does() -> None:
    bench = Bench(sets_up=True, resets=False)
    bench.ask(announcement())
    bench.host.next_task()
    assert bench.ask(announcement(trial=1)), "the same box, the same port"
    assert bench.report.waits_for == ""
    moved = dataclasses.replace(TASK, later_live=((TASK.live + 1) % 3,))
    assert bench.ask(Announcement(EpisodeKey("run", "boot", 2, 0), moved)), "it moves in the second episode only"
    assert not bench.ask(Announcement(EpisodeKey("run", "boot", 2, 1), moved))
    assert f"the cable in port {(TASK.live + 1) % 3 + 1} of 3 (trial 3, episode 2): next_task" in bench.report.waits_for
    assert bench.host.next_task()
    assert bench.report.state is GateState.POLICY


def test_after_the_task_the_person_brings_the_arm() -> None:
    bench = Bench(sets_up=True)
    bench.ask(announcement())
    assert bench.host.start_reset(), "the arm may be moved out of the way"
    assert bench.report.waits_for.endswith("next_task")
    bench.host.next_task()
    assert bench.report.waits_for.endswith("reset_done")
    bench.host.reset_done()
    assert bench.report.state is GateState.POLICY


def test_a_stop_ends_the_person_s_motion_too_and_clear_stop_starts_none() -> None:
    bench = Bench()
    bench.ask(announcement())
    bench.drag()
    bench.gate.stop("pressed")
    verdict = bench.drag()
    assert verdict is not None
    assert not verdict.accepted
    for ask in (bench.host.start_reset, bench.host.reset_done, bench.host.go_home, bench.host.park):
        with pytest.raises(PersonError, match=r"the arm is STOPPED \(pressed\); call clear_stop first"):
            ask()
    bench.gate.clear_stop()
    assert bench.report.state is GateState.HOLD
    bench.host.start_reset()
    bench.host.reset_done()
    assert bench.report.state is GateState.POLICY


def test_home_and_park_move_the_arm_for_the_person() -> None:
    bench = Bench()
    with pytest.raises(PersonError, match="no task was announced: there is no start pose"):
        bench.host.go_home()
    bench.ask(announcement())
    assert bench.host.go_home()
    assert bench.report.state is GateState.TELEOP
    assert bench.report.waits_for.endswith("reset_done")
    assert bench.host.park()
    assert (bench.robot.parked, bench.report.state, bench.report.reason) == (1, GateState.HOLD, "parked")


def test_a_person_may_take_the_arm_without_any_task_and_the_policy_waits() -> None:
    bench = Bench(resets=False)
    assert bench.host.start_reset()
    bench.drag()
    bench.host.reset_done()
    assert (bench.report.state, bench.report.reason) == (GateState.HOLD, "the person is done")
    with pytest.raises(PersonError, match="nobody waits for a reset"):
        bench.host.reset_done()
    bench.host.announce(announcement())
    bench.host.start_reset()
    assert bench.host.request_reset() == "a person moves the arm; reset_done gives it back"
    bench.host.reset_done()
    assert bench.host.request_reset() == ""
    bench.host.run_reset()
    with pytest.raises(PersonError, match="the arm is in POLICY, an episode is under way; call stop first"):
        bench.host.start_reset()


def test_a_demonstration_opens_the_gate_to_the_person() -> None:
    bench = Bench(resets=False)
    bench.ask(announcement(by="person"))
    assert bench.report.state is GateState.TELEOP
    assert bench.report.reset_stamp > 0
    assert bench.report.waits_for == ""
    assert bench.host.request_reset() == "", "asked again, it is only published again"
    verdict = bench.drag()
    assert verdict is not None
    assert verdict.accepted


def test_who_is_waited_for_crosses_as_json() -> None:
    report = GateReport(GateState.TELEOP, "why", EpisodeKey("r", "b", 1, 0), 0, ("image",), "a person to do it")
    assert GateReport.from_json(report.to_json()) == report
    said = announcement(by="person")
    assert Announcement.from_json(said.to_json()) == said
