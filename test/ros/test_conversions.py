"""Messages and back: every number survives, and what is damaged is one sentence."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, JointState

from meld_core.types import Frame, Reward
from meld_ros import conversions as ros

SCALE = ros.ActionScale(step_size=0.020, control_period=0.25)
STAMP = 7 * 10**9 + 5
stamps = st.integers(0, 2**31 * 10**9 - 1)


def over_the_wire(msg: object) -> object:
    return deserialize_message(serialize_message(msg), type(msg))


@given(hnp.arrays(np.float32, 3, elements=st.floats(width=32)), stamps, st.floats(0.001, 0.05), st.floats(0.01, 2.0))
def test_an_action_survives_bit_for_bit(action: np.ndarray, stamp: int, step_size: float, period: float) -> None:
    scale = ros.ActionScale(step_size, period)
    msg = over_the_wire(scale.to_msg(action, stamp))
    assert ros.stamp_of(msg.header) == stamp
    back = scale.from_msg(msg)
    assert back.dtype == np.float32
    whole = np.isfinite(action)
    assert back[whole].tobytes() == action[whole].tobytes()
    assert np.array_equal(np.isfinite(back), whole)


def test_an_action_of_one_is_80_mm_per_second() -> None:
    """20 mm in 0.25 s."""
    msg = SCALE.to_msg(np.array([1.0, -0.5, 0.0], np.float32), STAMP)
    assert (msg.twist.linear.x, msg.twist.linear.y, msg.twist.linear.z) == (0.08, -0.04, 0.0)
    assert (msg.header.frame_id, msg.header.stamp.sec, msg.header.stamp.nanosec) == ("base_link", 7, 5)


def test_a_command_in_another_frame_or_with_a_rotation_is_refused() -> None:
    msg = SCALE.to_msg(np.zeros(3, np.float32), STAMP)
    msg.twist.angular.z = 0.1
    with pytest.raises(ValueError, match="rotation"):
        SCALE.from_msg(msg)
    msg.header.frame_id = "tool"
    with pytest.raises(ValueError, match="frame 'tool' came, expected base_link"):
        SCALE.from_msg(msg)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))), stamps)
def test_a_picture_survives(pixels: np.ndarray, stamp: int) -> None:
    frame = ros.image_from_msg(over_the_wire(ros.image_to_msg(Frame(pixels, stamp, "wrist_optical"))))
    assert (frame.stamp, frame.frame_id) == (stamp, "wrist_optical")
    assert np.array_equal(frame.pixels, pixels)


def test_padding_is_cut_off_and_bgr_is_turned() -> None:
    """One row of two pixels and two bytes of padding, twice."""
    msg = Image(height=2, width=2, encoding="bgr8", step=8, data=[1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0])
    assert ros.image_from_msg(msg).pixels.tolist() == [[[3, 2, 1], [6, 5, 4]], [[9, 8, 7], [12, 11, 10]]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"encoding": "yuv422"}, "an image of encoding 'yuv422' came, expected one of rgb8, bgr8, "),
        ({"encoding": "16UC1", "step": 6}, "an image of encoding '16UC1' came, expected colours: rgb8, "),
        ({"width": 3}, "an image of 3x2 came, expected 2x2"),
        ({"step": 5}, "with step 5 came with 12 bytes, expected 12"),
        ({"step": 7}, "with step 7 came with 12 bytes, expected 14"),
        ({"height": 0}, "an image of 2x0 came, expected 2x2"),
    ],
)
def test_a_wrong_picture_is_one_sentence(change: dict[str, object], sentence: str) -> None:
    msg = ros.image_to_msg(Frame(np.zeros((2, 2, 3), np.uint8), STAMP, "a"))
    for name, value in change.items():
        setattr(msg, name, value)
    with pytest.raises(ValueError, match=sentence) as caught:
        ros.image_from_msg(msg, size=(2, 2))
    assert "\n" not in str(caught.value)


numbers = hnp.arrays(np.float64, 6, elements=st.floats())


@given(numbers, numbers, stamps)
def test_robot_states_survive(joints: np.ndarray, velocities: np.ndarray, stamp: int) -> None:
    msg = over_the_wire(ros.joints_to_msg(tuple("abcdef"), joints, velocities, stamp))
    assert list(msg.name) == list("abcdef")
    for back, sent in zip(ros.joints_from_msg(msg), (joints, velocities), strict=True):
        assert np.array_equal(back, sent, equal_nan=True)
    pose = over_the_wire(ros.pose_to_msg(joints[:3], velocities[:4], stamp))
    for back, sent in zip(ros.pose_from_msg(pose), (joints[:3], velocities[:4]), strict=True):
        assert np.array_equal(back, sent, equal_nan=True)
    assert ros.stamp_of(msg.header) == ros.stamp_of(pose.header) == stamp


def test_joints_without_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="2 joints came with 1 positions and 0 velocities"):
        ros.joints_from_msg(JointState(name=["a", "b"], position=[0.0]))


@given(st.floats(-1e3, 1e3), st.booleans(), st.floats(0, 1), stamps)
def test_a_reward_survives(value: float, success: bool, probability: float, stamp: int) -> None:
    msg = over_the_wire(ros.reward_to_msg(Reward(value, success, probability), stamp))
    assert ros.reward_from_msg(msg) == Reward(value, success, probability)
    assert ros.stamp_of(msg.header) == stamp


def test_a_missing_reward_carries_no_number() -> None:
    msg = ros.reward_to_msg(Reward(1.0, True, 1.0, valid=False), STAMP)
    values = ros.scalars_from_msg(msg)
    assert values.pop("valid") == 0.0
    assert np.isnan(list(values.values())).all()
    back = ros.reward_from_msg(msg)
    assert (back.valid, back.success) == (False, False)
    assert np.isnan([back.reward, back.probability]).all()


@pytest.mark.parametrize(
    ("names", "values", "sentence"),
    [
        (["reward"], [1.0], "lacks .'probability', 'success', 'valid'."),
        (["reward", "reward"], [1.0, 0.0], "2 names came with 2 values"),
        (["reward"], [], "1 names came with 0 values"),
        (["reward", "success", "probability", "valid"], [float("nan"), 0.0, 0.0, 1.0], "not finite"),
    ],
)
def test_a_wrong_reward_is_one_sentence(names: list[str], values: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ros.reward_from_msg(JointState(name=names, position=values))


@given(st.binary(max_size=2000))
def test_bytes_survive(data: bytes) -> None:
    assert ros.bytes_from_msg(over_the_wire(ros.bytes_to_msg(data))) == data


def test_80_megabytes_are_not_looped_over() -> None:
    """A loop over the elements in Python takes more than 4 s of CPU."""
    data = bytes(80_000_000)
    began = time.process_time()
    assert len(ros.bytes_from_msg(ros.bytes_to_msg(data))) == len(data)
    assert time.process_time() - began < 2.0


def test_json_messages() -> None:
    assert ros.json_from_msg(ros.json_to_msg({"b": 1, "a": [2]})) == {"a": [2], "b": 1}
    with pytest.raises(ValueError, match="where a JSON object was expected"):
        ros.json_from_msg(ros.String(data="[1]"))
