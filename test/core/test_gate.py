"""MotionGate: faults 3 to 7 and 22 to 25 of the fault list, with numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from fake_robot import FakeRobot
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from meld_core.config import GateConfig, RobotConfig
from meld_core.gate_checks import StopButton
from meld_core.robot import GateState, MotionGate

MS = 1_000_000
ME, OTHER = "policy", "somebody else"


class Clock:
    """A steady clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def action(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def make(mode: str = "lockstep", **gate: float) -> tuple[MotionGate, FakeRobot, Clock]:
    """An open gate over a robot at (0.30, 0, 0.07) in the box (0.24..0.36, -0.1..0.1, 0.045..0.095) m."""
    robot, clock = FakeRobot(), Clock()
    motion = MotionGate(robot, GateConfig(**gate), RobotConfig(mode=mode), clock)
    motion.reset()
    return motion, robot, clock


def test_a_command_that_fits_passes_bit_for_bit() -> None:
    gate, robot, _ = make()
    wanted = action(0.1, -0.7, 1 / 3)
    verdict = gate.command(wanted, robot.stamp, ME, robot.observe())
    assert verdict.accepted
    assert verdict.executed.dtype == np.float32
    assert verdict.executed.tobytes() == wanted.tobytes() == robot.applied[0].tobytes()
    assert gate.counters["clamped"] == 0


@pytest.mark.parametrize(("lag", "kind"), [(250 * MS, "stale"), (-250 * MS, "future")])
def test_lockstep_takes_only_the_stamp_of_the_current_step(lag: int, kind: str) -> None:
    gate, robot, _ = make()
    verdict = gate.command(action(1, 0, 0), robot.stamp - lag, ME, robot.observe())
    assert (verdict.accepted, verdict.kind, verdict.uses_period) == (False, kind, False)
    assert verdict.executed.tolist() == [0, 0, 0]
    assert gate.counters[kind] == 1
    assert robot.applied == []


@pytest.mark.parametrize(
    ("age_ms", "kind"),
    [(0, ""), (500, ""), (501, "stale"), (1000, "stale"), (-50, ""), (-51, "future"), (-1000, "future")],
)
def test_fault_3_realtime_refuses_old_and_future_stamps(age_ms: int, kind: str) -> None:
    gate, robot, _ = make("realtime")
    verdict = gate.command(action(1, 0, 0), robot.stamp - age_ms * MS, ME, robot.observe())
    assert verdict.kind == kind
    assert verdict.uses_period  # time runs: what was refused is a hold
    assert (len(robot.applied), robot.holds) == ((0, 1) if kind else (1, 0))


def test_realtime_refuses_a_second_command_for_one_observation() -> None:
    gate, robot, _ = make("realtime")
    state = robot.observe()
    assert gate.command(action(1, 0, 0), state.stamp, ME, state).accepted
    assert gate.command(action(1, 0, 0), state.stamp, ME, state).kind == "repeated"


@pytest.mark.parametrize(
    "bad",
    [
        action(np.nan, 0, 0),
        action(0, np.inf, 0),
        action(0, 0, -np.inf),
        action(0, 0),
        action(0, 0, 0, 0),
        np.zeros((1, 3), np.float32),
        np.zeros(3, np.float64),
        np.zeros(3, np.int32),
        [0.0, 0.0, 0.0],
        None,
    ],
)
def test_fault_4_a_command_that_is_no_action_executes_as_hold(bad: np.ndarray) -> None:
    gate, robot, _ = make()
    verdict = gate.command(bad, robot.stamp, ME, robot.observe())
    assert (verdict.kind, verdict.uses_period) == ("action", True)
    assert verdict.executed.tolist() == [0, 0, 0]
    assert robot.applied == []
    assert robot.holds == 1
    assert gate.state is GateState.POLICY


def test_fault_5_ten_times_too_fast_is_clamped_and_counted() -> None:
    gate, robot, _ = make()
    verdict = gate.command(action(10, -10, 0.5), robot.stamp, ME, robot.observe())
    assert verdict.executed.tolist() == [1, -1, 0.5]
    assert gate.counters["clamped"] == 1


@pytest.mark.parametrize(
    ("axis", "start", "sign", "expected"),
    [  # faces less 1 mm: x 0.241 and 0.359, y -0.099 and 0.099, z 0.046 and 0.094; steps of 20 mm
        (0, 0.250, -1, -0.45),
        (0, 0.350, +1, 0.45),
        (1, -0.090, -1, -0.45),
        (1, 0.095, +1, 0.20),
        (2, 0.050, -1, -0.20),
        (2, 0.0935, +1, 0.025),
    ],
)
def test_fault_6_each_face_of_the_box_stops_the_arm(axis: int, start: float, sign: int, expected: float) -> None:
    gate, robot, _ = make()
    robot.position[axis] = start
    push = action(0.25, 0.25, 0.25)
    push[axis] = sign
    wanted = [0.25, 0.25, 0.25]
    wanted[axis] = expected
    for step in range(4):
        verdict = gate.command(push, robot.stamp, ME, robot.observe())
        if step == 0:
            np.testing.assert_allclose(verdict.executed, wanted, atol=1e-6)
        robot.wait()
        push = np.zeros(3, np.float32)
        push[axis] = sign
    face = {-1: robot.limits.workspace_lower + 0.001, 1: robot.limits.workspace_upper - 0.001}[sign][axis]
    assert robot.position[axis] == pytest.approx(face, abs=1e-8)
    assert verdict.executed[axis] == pytest.approx(0.0, abs=1e-6)  # no oscillation at the face


def test_from_outside_the_box_the_only_way_is_back_by_at_most_a_step() -> None:
    gate, robot, _ = make()
    robot.position[:] = (0.30, 0.0, 0.130)
    assert gate.command(action(0, 0, 1), robot.stamp, ME, robot.observe()).executed.tolist() == [0, 0, -1]


def test_fault_7_a_second_commander_is_refused_and_uses_no_time() -> None:
    gate, robot, _ = make()
    assert gate.command(action(1, 0, 0), robot.stamp, ME, robot.observe()).accepted
    robot.wait()
    verdict = gate.command(action(-1, 0, 0), robot.stamp, OTHER, robot.observe())
    assert (verdict.kind, verdict.uses_period) == ("sender", False)
    assert gate.owner == ME
    assert gate.command(action(1, 0, 0), robot.stamp, ME, robot.observe()).accepted


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


def test_where_nobody_tells_who_commands_several_commanders_are_refused() -> None:
    gate, robot, _ = make()
    assert gate.command(action(1, 0, 0), robot.stamp, "", robot.observe()).kind == "sender"
    assert robot.applied == []


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


floats = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(
    actions=st.lists(hnp.arrays(np.float32, 3, elements=floats), min_size=1, max_size=8),
    start=st.tuples(st.floats(0.24, 0.36), st.floats(-0.1, 0.1), st.floats(0.045, 0.095)),
)
def test_never_outside_the_box_and_never_nan(actions: list[np.ndarray], start: tuple[float, float, float]) -> None:
    gate, robot, _ = make()
    robot.position[:] = start
    for wanted in actions:
        verdict = gate.command(wanted, robot.stamp, ME, robot.observe())
        assert verdict.uses_period
        assert np.isfinite(verdict.executed).all()
        assert (np.abs(verdict.executed) <= 1.0).all()
        robot.wait()
        assert (robot.position >= robot.limits.workspace_lower - 1e-9).all()
        assert (robot.position <= robot.limits.workspace_upper + 1e-9).all()
    assert all(np.isfinite(applied).all() for applied in robot.applied)
