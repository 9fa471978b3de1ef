"""When MotionGate holds or stops the arm: faults 22 to 25 of the fault list, with numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from fake_robot import FakeRobot

from meld_core.config import GateConfig, RobotConfig
from meld_core.gate_checks import StopButton
from meld_core.robot import GateState, MotionGate

from .open_gate import ME, MS, OTHER, Clock, action, make


def test_policy_lost_holds_until_the_next_reset_and_frees_the_gate() -> None:
    gate, robot, _ = make()
    gate.command(action(1, 0, 0), robot.stamp, ME, robot.observe())
    gate.policy_lost()
    assert (gate.state, gate.owner, robot.holds) == (GateState.HOLD, None, 1)
    robot.wait()
    assert gate.command(action(1, 0, 0), robot.stamp, ME, robot.observe()).kind == "state"
    gate.reset()
    assert gate.command(action(1, 0, 0), robot.stamp, OTHER, robot.observe()).accepted


def test_in_lockstep_only_the_lost_policy_itself_may_go_on() -> None:
    gate, robot, _ = make()
    gate.command(action(1, 0, 0), robot.stamp, ME, robot.observe())
    gate.policy_lost()
    assert gate.policy_back()
    robot.wait()
    assert gate.command(action(1, 0, 0), robot.stamp, OTHER, robot.observe()).kind == "sender"
    assert gate.command(action(1, 0, 0), robot.stamp, ME, robot.observe()).accepted


@pytest.mark.parametrize(("mode", "act"), [("realtime", "policy_lost"), ("lockstep", "stop"), ("lockstep", "hold")])
def test_no_other_hold_ends_by_itself(mode: str, act: str) -> None:
    gate, _, _ = make(mode)
    getattr(gate, act)(*([] if act == "policy_lost" else ["why"]))
    assert not gate.policy_back()
    assert gate.state is not GateState.POLICY


def test_a_gate_that_never_saw_a_reset_takes_no_command() -> None:
    robot = FakeRobot()
    gate = MotionGate(robot, GateConfig(), RobotConfig())
    verdict = gate.command(action(0, 0, 0), robot.stamp, ME, robot.observe())
    assert verdict.kind == "state"
    assert "HOLD (no reset yet)" in verdict.reason


def test_realtime_command_expires_after_one_and_a_half_periods() -> None:
    gate, robot, clock = make("realtime")
    gate.command(action(1, 0, 0), robot.stamp, ME, robot.observe())
    clock.now += 0.374
    assert not gate.expire()
    clock.now += 0.002
    assert gate.expire()
    assert (robot.holds, gate.counters["expired"], gate.owner) == (1, 1, None)
    assert not gate.expire()
    assert gate.state is GateState.POLICY


def test_lockstep_commands_do_not_expire() -> None:
    gate, robot, clock = make()
    gate.command(action(1, 0, 0), robot.stamp, ME, robot.observe())
    clock.now += 1000.0
    assert not gate.expire()


def test_fault_25_stop_is_latched() -> None:
    gate, robot, _ = make()
    gate.stop("a person said so")
    assert robot.holds == 1
    with pytest.raises(RuntimeError, match=r"STOPPED \(a person said so\); call clear_stop"):
        gate.reset()
    gate.policy_lost()
    assert gate.state is GateState.STOPPED
    gate.clear_stop()
    assert gate.state is GateState.HOLD
    assert not gate.command(action(0, 0, 0), robot.stamp, ME, robot.observe()).accepted
    gate.reset()
    assert gate.state is GateState.POLICY


def test_a_stop_during_a_reset_is_not_undone_by_its_end() -> None:
    gate, robot, _ = make()
    robot.during_reset = lambda: gate.stop("stopped on the way")
    gate.reset()
    assert (gate.state, gate.reason) == (GateState.STOPPED, "stopped on the way")


def test_a_stop_that_came_before_the_arm_moved_is_insisted_on() -> None:
    """A reset that was stopped but moves nevertheless is held again by whoever looks after the arm."""
    gate, robot, _ = make()

    def stopped_on_the_way() -> None:
        gate.insist()
        assert robot.holds == 0
        gate.stop("stopped on the way")
        gate.insist()

    robot.during_reset = stopped_on_the_way
    gate.reset()
    assert robot.holds == 2
    gate.insist()
    assert robot.holds == 2


def test_fault_25_a_required_stop_button_may_not_fall_silent() -> None:
    clock = Clock()
    button = StopButton(0.1, clock)
    button.heard(False)
    clock.now += 0.09
    assert button.problem() == ""
    clock.now += 0.02
    assert button.problem() == "nothing came on stop_button for 0.1 s (gate.button_timeout)"
    button.heard(True)
    assert button.problem() == "the stop button is pressed"
    button.heard(False)
    assert button.problem() == ""


def test_without_a_required_button_only_a_press_counts() -> None:
    clock = Clock()
    button = StopButton(0.0, clock)
    clock.now += 1000.0
    assert button.problem() == ""
    button.heard(True)
    assert button.problem() == "the stop button is pressed"


def test_a_failed_reset_holds_and_says_why() -> None:
    gate, robot, _ = make()

    def fail() -> None:
        raise RuntimeError("joint 'elbow' does not answer")

    robot.during_reset = fail
    with pytest.raises(RuntimeError, match="does not answer"):
        gate.reset()
    assert (gate.state, gate.reason) == (GateState.HOLD, "reset failed: joint 'elbow' does not answer")


def test_fault_23_implausible_joint_states_are_refused_and_the_third_stops() -> None:
    gate, robot, _ = make()
    gate.command(action(0, 0, 0), robot.stamp, ME, robot.observe())
    robot.wait()
    robot.joints[:] = -3.0  # all servos at one end, freshly stamped
    verdict = gate.command(action(1, 0, 0), robot.stamp, ME, robot.observe())
    assert (verdict.kind, verdict.uses_period, gate.state) == ("robot_state", True, GateState.POLICY)
    for _ in range(2):
        robot.wait()
        assert not gate.watch(robot.observe())
    assert gate.state is GateState.STOPPED
    assert "joint 'waist' jumped by 3.00 rad in 0.750 s, more than 0.80 rad" in gate.reason
    assert gate.counters["implausible_state"] == 3


@pytest.mark.parametrize(("gap_ms", "jump", "plausible"), [(10, 0.13, True), (10, 0.14, False), (250, 0.79, True)])
def test_a_joint_moves_no_further_than_its_speed_allows(gap_ms: int, jump: float, plausible: bool) -> None:
    """3.1 rad/s for 10 ms is 0.031 rad, and 0.1 rad are allowed besides; never more than gate.max_joint_jump."""
    gate, robot, _ = make("realtime")
    gate.watch(robot.observe())
    robot.stamp += gap_ms * MS
    robot.joints[2] = jump
    assert gate.watch(robot.observe()) is plausible


def test_one_implausible_state_is_forgiven() -> None:
    gate, robot, _ = make()
    gate.command(action(0, 0, 0), robot.stamp, ME, robot.observe())
    robot.wait()
    robot.joints[1] = np.nan
    assert gate.command(action(0, 0, 0), robot.stamp, ME, robot.observe()).kind == "robot_state"
    robot.wait()
    robot.joints[1] = 0.7  # within 0.8 rad of the last plausible state
    assert gate.command(action(0, 0, 0), robot.stamp, ME, robot.observe()).accepted


def test_fault_24_a_tool_that_lags_its_target_for_half_a_second_stops() -> None:
    gate, robot, _ = make()
    states = []
    for _ in range(4):
        gate.command(action(0, 0, 0), robot.stamp, ME, robot.observe())
        robot.wait()
        robot.position[2] += 0.061  # dragged away by 61 mm in each period of 0.25 s
        states.append(gate.state)
        if gate.state is GateState.STOPPED:
            break
    gate.watch(robot.observe())
    assert gate.state is GateState.STOPPED
    assert "0.061 m from its target" in gate.reason
    assert gate.counters["lagging_state"] == 3  # at 0, 0.25 and 0.5 s


def test_a_robot_that_fails_to_apply_is_stopped() -> None:
    gate, robot, _ = make()
    robot.fails = "the bus is silent"
    verdict = gate.command(action(0, 0, 0), robot.stamp, ME, robot.observe())
    assert verdict.kind == "robot_state"
    assert (gate.state, gate.reason) == (GateState.STOPPED, "the robot failed: the bus is silent")
