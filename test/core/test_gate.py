"""Commands at MotionGate: faults 3 to 7 of the fault list, with numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from meld_core.robot import GateState

from .open_gate import ME, MS, OTHER, action, make


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


def test_where_nobody_tells_who_commands_several_commanders_are_refused() -> None:
    gate, robot, _ = make()
    assert gate.command(action(1, 0, 0), robot.stamp, "", robot.observe()).kind == "sender"
    assert robot.applied == []


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
