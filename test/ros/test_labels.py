"""Labels from live topics and from bags: real DDS, a real MCAP file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from std_msgs.msg import String

from meld_core.detectors.labels import LabelError
from meld_core.types import Frame
from meld_ros import conversions as msgs
from meld_ros.commands.label_bag import labels_of_bag
from meld_ros.label_node import LabelNode

from .conftest import Ros

STORE = get_typestore(Stores.ROS2_HUMBLE)
TYPES = STORE.types


def flat(value: int) -> np.ndarray:
    return np.full((4, 6, 3), value, np.uint8)


def test_a_picture_gets_the_label_that_a_person_gives_by_key_or_topic(ros: Ros) -> None:
    said: list[str] = []
    node = ros.node(LabelNode, "detector_image", said.append)
    probe = ros.probe()
    images, labels = msgs.publisher(probe, msgs.DETECTOR_IMAGE), msgs.publisher(probe, msgs.LABEL)
    ros.until(lambda: images.get_subscription_count() and labels.get_subscription_count(), "the match")
    node.label(True)
    assert said == ["no new picture of the detector view is there"]
    images.publish(msgs.image_to_msg(Frame(flat(10), 1, "")))
    ros.until(lambda: node.label(False) or (len(said) > 1 and said[-1].startswith("failure")), "the first label")
    images.publish(msgs.image_to_msg(Frame(flat(20), 2, "")))

    def answered() -> bool:
        labels.publish(String(data="success"))
        return said[-1] == "success: 2 pictures, 1 of success"

    ros.until(answered, "the second label")
    labelled = node.labels("bench")
    assert labelled.success.tolist() == [False, True]
    assert labelled.images[:, 0, 0, 0].tolist() == [10, 20]
    assert labelled.groups.tolist() == [0, 1]


def header(stamp: int) -> object:
    time = TYPES["builtin_interfaces/msg/Time"](sec=stamp, nanosec=0)
    return TYPES["std_msgs/msg/Header"](stamp=time, frame_id="")


def image(stamp: int) -> object:
    data = flat(stamp).ravel()
    return TYPES["sensor_msgs/msg/Image"](header(stamp), height=4, width=6, encoding="rgb8", is_bigendian=0, step=18,
                                          data=data)  # fmt: skip


def bag(folder: Path, messages: list[tuple[str, str, object]]) -> Path:
    path = folder / "bag"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kinds = {topic: kind for topic, kind, _ in messages}
        topics = {
            topic: writer.add_connection(f"/robot/{topic}", kind, typestore=STORE) for topic, kind in kinds.items()
        }
        for number, (topic, kind, message) in enumerate(messages):
            writer.write(topics[topic], number, STORE.serialize_cdr(message, kind))
    return path


def test_a_bag_is_labelled_by_the_last_word_of_a_person(tmp_path: Path) -> None:
    word = TYPES["std_msgs/msg/String"]
    path = bag(
        tmp_path,
        [
            ("detector_image", "sensor_msgs/msg/Image", image(1)),
            ("label", "std_msgs/msg/String", word("failure")),
            ("detector_image", "sensor_msgs/msg/Image", image(2)),
            ("label", "std_msgs/msg/String", word("success")),
            ("detector_image", "sensor_msgs/msg/Image", image(3)),
            ("detector_image", "sensor_msgs/msg/Image", image(4)),
        ],
    )
    labels = labels_of_bag(path, "bench")
    assert labels.images[:, 0, 0, 0].tolist() == [2, 3, 4]
    assert labels.success.tolist() == [False, True, True]
    assert (labels.groups.tolist(), labels.source) == ([0, 1, 1], "person")


def test_a_simulated_bag_is_labelled_by_stamp_and_says_so(tmp_path: Path) -> None:
    scalars = TYPES["sensor_msgs/msg/JointState"]
    none = np.zeros(0)
    words = [scalars(header(i), ["shaped", "success"], np.array([0.5, float(i == 2)]), none, none) for i in (1, 2)]
    path = bag(
        tmp_path,
        [
            *(("detector_image", "sensor_msgs/msg/Image", image(i)) for i in (1, 2, 3)),
            *(("truth", "sensor_msgs/msg/JointState", said) for said in words),
        ],
    )
    labels = labels_of_bag(path, "bench")
    assert (labels.success.tolist(), labels.source) == ([False, True], "simulator")


def test_a_bag_without_labels_and_no_bag_are_one_sentence(tmp_path: Path) -> None:
    path = bag(tmp_path, [("detector_image", "sensor_msgs/msg/Image", image(1))])
    with pytest.raises(LabelError, match="holds no detector_image after a label"):
        labels_of_bag(path, "bench")
    with pytest.raises(LabelError, match="there is no bag"):
        labels_of_bag(tmp_path / "nothing", "bench")
