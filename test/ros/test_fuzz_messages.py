"""Messages may hold anything: each decoder accepts it or says in a sentence why not; and nodes go on."""

from __future__ import annotations

import array
import json
import math
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from meld_core.config import Config
from meld_core.storage.run_folder import RunFolder
from meld_ros import conversions as msgs
from meld_ros.images import ENCODINGS, array_from_image, compressed, pixels_of, pixels_of_compressed
from meld_ros.trial_sender import Ack

from ..core.fuzzing import attempt, damaged, fuzz_settings, wrong_json
from .conftest import Ros
from .stand_ins import Listener

NAMES = st.lists(st.sampled_from(["reward", "success", "probability", "valid", "waist", "", "é"]), max_size=6)
FLOATS = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=6)
FLOAT = st.floats(allow_nan=True, allow_infinity=True)
ACK = Ack("arm-demo-000007-01234567", True, "", 8, False).to_json()


@st.composite
def text_messages(draw: st.DrawFn, good: str) -> String:
    """ROS strings are UTF-8: what cannot be written so never arrives."""
    return String(data=draw(wrong_json(good)).encode(errors="replace").decode())


@fuzz_settings
@given(text_messages(ACK))
def test_acknowledgements(msg: String) -> None:
    attempt("ack", lambda: Ack.from_msg(msg), ValueError)
    attempt("json message", lambda: msgs.json_from_msg(msg), ValueError)


@fuzz_settings
@given(NAMES, FLOATS, FLOATS)
def test_named_numbers(names: list[str], position: list[float], velocity: list[float]) -> None:
    msg = JointState(name=names, position=position, velocity=velocity)
    attempt("scalars", lambda: msgs.scalars_from_msg(msg), ValueError)
    attempt("joints", lambda: msgs.joints_from_msg(msg), ValueError)
    if attempt("reward", lambda: msgs.reward_from_msg(msg), ValueError):
        reward = msgs.reward_from_msg(msg)
        assert reward.valid == (not math.isnan(reward.reward))


@fuzz_settings
@given(st.tuples(*[FLOAT] * 7), st.sampled_from(["base_link", "", "world"]))
def test_poses_and_commands(numbers: tuple[float, ...], frame: str) -> None:
    pose, twist = PoseStamped(), TwistStamped()
    pose.header.frame_id = twist.header.frame_id = frame
    for name, number in zip("xyz", numbers, strict=False):
        setattr(pose.pose.position, name, number)
        setattr(twist.twist.linear, name, number)
    for name, number in zip("xyzw", numbers[3:], strict=True):
        setattr(pose.pose.orientation, name, number)
    twist.twist.angular.z = numbers[3]
    attempt("pose", lambda: msgs.pose_from_msg(pose), ValueError)
    attempt("action", lambda: msgs.ActionScale(0.02, 0.25).from_msg(twist), ValueError)


@fuzz_settings
@given(
    st.sampled_from([*ENCODINGS, "", "yuv422", "é"]),
    st.tuples(*[st.one_of(st.integers(0, 40), st.integers(0, 4), st.just(2**32 - 1))] * 3),
    st.binary(max_size=80),
    st.integers(0, 255),
)
def test_images(encoding: str, sizes: tuple[int, int, int], data: bytes, order: int) -> None:
    height, width, step = sizes
    msg = Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=order)
    msg.data = array.array("B", data)
    attempt("image", lambda: array_from_image(msg), ValueError)
    attempt("image as colours", lambda: pixels_of(msg), ValueError)
    attempt("image of a size", lambda: msgs.image_from_msg(msg, (2, 2)), ValueError)


PNG = bytes(compressed(np.zeros((4, 4, 3), np.uint8)).data)


@fuzz_settings
@given(damaged(PNG))
def test_compressed_images(data: bytes) -> None:
    msg = CompressedImage(format="png", data=array.array("B", data))
    attempt("compressed image", lambda: pixels_of_compressed(msg), ValueError)


class OfDiagnostics(Listener):
    """Deaf to gate states: these are bad here."""

    def _on_gate(self, msg: String) -> None:
        pass


def test_nodes_go_on_after_messages_that_hold_anything(ros: Ros, small: Config, run: RunFolder) -> None:
    """Bad text and bytes on every topic that a node reads as text or bytes; afterwards the run comes to its end."""
    node, listener = ros.probe(), OfDiagnostics(ros)
    topics = (msgs.TASK, msgs.GATE_STATE, msgs.TRIALS_ACK)
    texts = [
        "",
        "null",
        "[" * 50_000,
        '{"state": 5}',
        '{"trial": [], "stored": "no"}',
        json.dumps({"reset_stamp": 1e999}),
    ]
    texts += [json.dumps({"run": "x", "boot": "b", "trial": 0, "episode": 0, "task": {"id": 1, "ports": [["a"]]}})]
    speakers: list[Any] = [msgs.publisher(node, topic) for topic in topics]
    bulk: list[Any] = [msgs.publisher(node, topic) for topic in (msgs.TRIALS, msgs.WEIGHTS)]
    nodes = ros.start_graph("train", small, run, "robot", "reward", "trainer")
    listener.hears("robot", "HOLD")
    listener.hears("reward", "running")
    listener.hears("trainer", "waiting")
    ros.until(lambda: all(speaker.get_subscription_count() for speaker in speakers[:1]), "listeners")
    for text in texts:
        for speaker in speakers:
            speaker.publish(String(data=text))
        for speaker in bulk:
            speaker.publish(msgs.bytes_to_msg(text.encode()))
    listener.hears("robot", "refused")
    listener.hears("reward", "refused")
    listener.hears("trainer", "refused")
    for speaker in (*speakers, *bulk):
        node.destroy_publisher(speaker)
    nodes |= ros.start_graph("train", small, run, "policy")
    ros.until(lambda: nodes["policy"].poll() == 0, "the end of the run")
