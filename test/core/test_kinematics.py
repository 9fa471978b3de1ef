"""Forward and inverse kinematics against hand-computed numbers of the WidowX 250s."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meld_core.config import Config
from meld_core.kinematics import ArmKinematics, KinematicsError
from meld_core.sim.arm import JOINT_NAMES, LINKS, POINTING_DOWN, arm_limits, joint_limits
from meld_core.sim.arm_model import arm_xml
from meld_core.sim.engine import mujoco

KINEMATICS = ArmKinematics()
LIMITS = arm_limits(Config())
DOWN = np.array(POINTING_DOWN)


def test_joint_limits_are_those_of_the_urdf() -> None:
    lower, upper = joint_limits()
    assert JOINT_NAMES == ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
    np.testing.assert_allclose(lower, [-3.14158, -1.88496, -2.14675, -3.14158, -1.74533, -3.14158], atol=5e-6)
    np.testing.assert_allclose(upper, [3.14158, 1.98968, 1.60570, 3.14158, 2.14675, 3.14158], atol=5e-6)


def test_zero_pose_puts_interbotix_tool_point_where_the_urdf_does() -> None:
    """x = .04975+.175+.075+.065+.043+.023+.027575 = .458325, z = .072+.03865+.25 = .36065."""
    model = mujoco.MjModel.from_xml_string(arm_xml())
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(data.site("ee_gripper").xpos, [0.458325, 0.0, 0.36065], atol=1e-12)


def test_zero_pose_plug_tip_is_35_mm_beyond_it() -> None:
    position, orientation = KINEMATICS.forward(np.zeros(6))
    np.testing.assert_allclose(position, [0.493325, 0.0, 0.36065], atol=1e-12)
    np.testing.assert_allclose(orientation, [0, 0, 0, 1], atol=1e-12)


def test_waist_turns_the_tool_about_z() -> None:
    position, orientation = KINEMATICS.forward(np.array([np.pi / 2, 0, 0, 0, 0, 0]))
    np.testing.assert_allclose(position, [0.0, 0.493325, 0.36065], atol=1e-12)
    np.testing.assert_allclose(orientation, [0, 0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-12)


def test_a_right_angle_at_the_wrist_points_the_plug_down() -> None:
    """The wrist's joint is at x = .29975; .065 + .128575 hang below it."""
    position, orientation = KINEMATICS.forward(np.array([0, 0, 0, 0, np.pi / 2, 0]))
    np.testing.assert_allclose(position, [0.29975, 0.0, 0.36065 - 0.193575], atol=1e-12)
    np.testing.assert_allclose(orientation, DOWN, atol=1e-12)


def test_masses_add_up_to_the_urdfs() -> None:
    """Base, six links, bar with propeller, two fingers, and our plug of 20 g."""
    model = mujoco.MjModel.from_xml_string(arm_xml())
    links = sum(link.inertial.mass for link in LINKS)
    expected = 0.538736 + links + 0.034199 + 0.00434 + 2 * 0.016246 + 0.02
    assert links == pytest.approx(1.525112)
    assert model.body_subtreemass[0] == pytest.approx(expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(share=st.tuples(*[st.floats(0, 1)] * 3), step=st.tuples(*[st.floats(-1, 1)] * 3))
def test_inverse_brings_the_tool_anywhere_in_the_workspace(share: tuple[float, ...], step: tuple[float, ...]) -> None:
    size = LIMITS.workspace_upper - LIMITS.workspace_lower
    start = LIMITS.workspace_lower + size * share
    joints = KINEMATICS.inverse(start, DOWN)
    target = np.clip(start + 0.02 * np.array(step), LIMITS.workspace_lower, LIMITS.workspace_upper)
    moved = KINEMATICS.inverse(target, DOWN, joints)
    position, orientation = KINEMATICS.forward(moved)
    assert np.abs(position - target).max() < 3e-5
    assert np.abs(orientation - DOWN).max() < 3e-4
    assert (moved >= LIMITS.joint_lower).all()
    assert (moved <= LIMITS.joint_upper).all()
    assert np.abs(moved - joints).max() < 0.5  # the same branch: no joint flips over


def test_inverse_depends_on_its_arguments_only() -> None:
    target = np.array([0.31, 0.05, 0.08])
    first = KINEMATICS.inverse(target, DOWN)
    KINEMATICS.inverse(np.array([0.25, -0.08, 0.06]), DOWN)
    assert KINEMATICS.inverse(target, DOWN).tobytes() == first.tobytes()
    assert ArmKinematics().inverse(target, DOWN).tobytes() == first.tobytes()


@pytest.mark.parametrize("target", [(0.9, 0.0, 0.1), (0.3, 0.0, -0.6)])
def test_a_pose_out_of_reach_is_one_clear_sentence(target: tuple[float, ...]) -> None:
    with pytest.raises(KinematicsError, match=r"the arm cannot bring its tool to \[0\.\d, 0\.0, -?0\.\d\] m"):
        KINEMATICS.inverse(np.array(target), DOWN)


@pytest.mark.parametrize("joints", [np.zeros(5), np.full(6, np.nan)])
def test_wrong_joints_are_refused(joints: np.ndarray) -> None:
    with pytest.raises(KinematicsError, match="joint angles must be 6 finite numbers"):
        KINEMATICS.forward(joints)
