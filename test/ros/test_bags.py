"""Bags: written in the layout of rosbag2, read, recovered after a kill, recorded over real DDS."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lockstep_ring import SMALL
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

from meld_core.exchange.importer import Importer
from meld_core.exchange.recorded import Recording
from meld_core.types import Frame
from meld_ros import conversions as ros_names
from meld_ros.bags import BagError
from meld_ros.bags.hear import HEARD, Hearing, namespace_of, split_topic
from meld_ros.bags.reader import files_of, open_bag, recover
from meld_ros.bags.recorder import InOrder, Recorder, adapted, described, said_at
from meld_ros.bags.writer import BagWriter
from meld_ros.cli import main
from meld_ros.conversions import bytes_to_msg, image_to_msg, scalars_to_msg
from meld_ros.qos import LATCHED_QOS, SENSOR_QOS, STEP_QOS, action_qos, keep, remembered

from .conftest import Ros

STRING = "std_msgs/msg/String"


def text(value: str) -> bytes:
    return bytes(serialize_message(String(data=value)))


def bag_of(folder: Path, messages: list[tuple[str, int, bytes]], split: int = 10**9) -> Path:
    writer = BagWriter(folder, split)
    for name in dict.fromkeys(topic for topic, _, _ in messages):
        writer.add_topic(name, STRING)
    for topic, stamp, data in messages:
        writer.write(topic, stamp, data)
    writer.close()
    return folder


def read(path: Path) -> list[tuple[str, int, bytes]]:
    with open_bag(path) as bag:
        return list(bag.messages())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["/a", "/left/b"]), st.text(max_size=40)), max_size=30), st.integers(40, 400))
def test_every_message_comes_back_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str]], split: int
) -> None:
    messages = [(topic, 1000 + number, text(value)) for number, (topic, value) in enumerate(said)]
    folder = bag_of(tmp_path_factory.mktemp("bags") / "bag", messages, split)
    assert read(folder) == messages
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["message_count"] == len(messages)
    assert metadata["relative_file_paths"] == [path.name for path in files_of(folder)]


def test_metadata_hold_every_field_that_rosbag2_documents(tmp_path: Path) -> None:
    """Version 8 by hand: 3 messages of 20 to 24 bytes of data, 40 ns apart, in files of at most one message."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    writer = BagWriter(tmp_path / "night", 1)
    writer.add_topic("/task", STRING, [described(latched)])
    for number in range(3):
        writer.write("/task", 1_000_000_000 + 40 * number, text("word"))
    writer.close()
    assert sorted(p.name for p in (tmp_path / "night").iterdir()) == [
        "metadata.yaml", "night_0.mcap", "night_1.mcap", "night_2.mcap",
    ]  # fmt: skip
    told = yaml.safe_load((tmp_path / "night/metadata.yaml").read_text())["rosbag2_bagfile_information"]
    (topic,) = told.pop("topics_with_message_count")
    files = [
        {
            "path": f"night_{n}.mcap",
            "starting_time": {"nanoseconds_since_epoch": 1_000_000_000 + 40 * n},
            "duration": {"nanoseconds": 0},
            "message_count": 1,
        }
        for n in range(3)
    ]
    assert told == {
        "version": 8,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": 80},
        "starting_time": {"nanoseconds_since_epoch": 1_000_000_000},
        "message_count": 3,
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": ["night_0.mcap", "night_1.mcap", "night_2.mcap"],
        "files": files,
        "custom_data": None,
        "ros_distro": os.environ.get("ROS_DISTRO", "rosbags"),
    }
    assert topic["message_count"] == 3
    about = topic["topic_metadata"]
    assert (about["name"], about["type"], about["serialization_format"]) == ("/task", STRING, "cdr")
    assert about["type_description_hash"].startswith("RIHS01_df668c740482")
    (qos,) = yaml.safe_load(about["offered_qos_profiles"])
    assert (qos["history"], qos["depth"], qos["reliability"], qos["durability"]) == (1, 1, 1, 1)
    assert set(qos) == {
        "history", "depth", "reliability", "durability", "deadline", "lifespan", "liveliness",
        "liveliness_lease_duration", "avoid_ros_namespace_conventions",
    }  # fmt: skip


def test_each_file_can_be_read_alone(tmp_path: Path) -> None:
    folder = bag_of(tmp_path / "bag", [("/a", n, text(str(n))) for n in range(3)], split=1)
    assert [message for path in files_of(folder) for message in read(path)] == read(folder)


def test_a_bag_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.mcap").write_bytes(b"not a bag at all" * 10)
    for name, sentence in (
        ("nowhere", "there is no bag"),
        ("empty", "is no bag: it has neither metadata.yaml nor MCAP files"),
        ("bad.mcap", "is no bag that can be read"),
    ):
        with pytest.raises(BagError, match=sentence), open_bag(tmp_path / name):
            pass
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path / "empty", 1)


def test_without_rosbags_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    for command in (["record", "--out", "b"], ["import", "b", "--out", "o"], ["replay", "b"]):
        assert main(["data", *command]) == 2
        assert capsys.readouterr().err == "meld: bags need the package rosbags: pip install 'meld_ros[bags]'\n"


def test_messages_are_put_in_order_of_arrival() -> None:
    """Half a second of patience: 0.9 s waits for 1.0 s, and 0.1 s comes too late to go before 0.3 s."""
    written: list[tuple[str, int]] = []
    order = InOrder(lambda topic, stamp, data: written.append((topic, stamp)))
    for topic, stamp in (("a", 300), ("b", 1000), ("c", 900), ("late", 100), ("d", 1600)):
        order.add(topic, stamp * 1_000_000, b"")
    assert written == [("a", 300_000_000), ("late", 300_000_000), ("c", 900_000_000), ("b", 1_000_000_000)]
    order.close()
    assert written[-1] == ("d", 1_600_000_000)


@pytest.mark.parametrize(
    ("said", "came", "counts"),
    [(1_000, 1_499, 1_000), (1_000, 1_500, 1_500), (1_400, 1_000, 1_400), (1_500, 1_000, 1_000), (0, 7, 7)],
    ids=["sent again", "another clock", "a little ahead", "far ahead", "not told"],
)
def test_a_message_stands_where_it_was_said(said: int, came: int, counts: int) -> None:
    """In ms; clocks that are half a second apart are not compared."""
    info = {"source_timestamp": said * 1_000_000, "received_timestamp": came * 1_000_000}
    assert said_at(info) == counts * 1_000_000


def test_publishers_remember_more_than_subscribers_ask_for() -> None:
    """What a late joiner gets, and what may be lost, stays what it is."""
    longer, more = remembered(STEP_QOS), remembered(keep(300))
    assert (longer.depth, longer.reliability, longer.durability) == (100, STEP_QOS.reliability, STEP_QOS.durability)
    assert (STEP_QOS.depth, more.depth, remembered(LATCHED_QOS).depth, remembered(SENSOR_QOS).depth) == (10, 300, 1, 5)
    leased = remembered(action_qos(0.5))
    assert (leased.depth, leased.liveliness_lease_duration.nanoseconds) == (100, 500_000_000)


def test_the_strictest_subscription_that_all_publishers_satisfy() -> None:
    reliable = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    lossy = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    both, latched = adapted([reliable, lossy]), adapted([reliable])
    assert (both.reliability, both.durability) == (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
    assert (latched.reliability, latched.durability) == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def test_gaps_in_a_publishers_numbers_are_dropped_messages(ros: Ros, tmp_path: Path) -> None:
    recorder = ros.node(Recorder, BagWriter(tmp_path / "bag", 10**6))
    for publisher, number in ((b"one", 5), (b"one", 6), (b"two", 1), (b"one", 9), (b"two", 2), (b"one", 10)):
        recorder._count("/a", {"publication_sequence_number": number, "publisher_gid": {"data": publisher}})
    recorder._count("/old", {"received_timestamp": 1})  # a distribution that does not tell
    assert (recorder.recorded["/a"], recorder.dropped["/a"], recorder.dropped["/old"]) == (6, 2, 0)


def test_messages_that_overflow_the_recorders_queue_are_counted(ros: Ros, tmp_path: Path) -> None:
    """Over DDS: 1,200 messages while nothing is taken, of which the queue keeps the newest 1,000."""
    publisher = ros.probe().create_publisher(String, "flood", 2000)
    recorder = ros.node(Recorder, BagWriter(tmp_path / "bag", 10**9), ["/flood"])
    ros.until(lambda: recorder.discover() or publisher.get_subscription_count(), "the match")
    publisher.publish(String(data="first"))
    ros.until(lambda: recorder.recorded["/flood"], "the first message")
    for number in range(1200):
        publisher.publish(String(data=str(number)))
    ros.until(lambda: recorder.recorded["/flood"] + recorder.dropped["/flood"] == 1201, "every message, or its loss")
    assert recorder.dropped["/flood"] == 200


def test_latched_messages_and_late_topics_are_recorded_as_they_were_sent(ros: Ros, tmp_path: Path) -> None:
    probe: Node = ros.probe()
    probe.create_publisher(String, "said", ros_names.LATCHED_QOS).publish(String(data="before"))
    writer = BagWriter(tmp_path / "bag", 10**9)
    recorder = ros.node(Recorder, writer)

    def recorded(topic: str) -> Callable[[], bool]:
        def look() -> bool:
            recorder.discover()
            return bool(recorder.recorded[topic])

        return look

    ros.until(recorded("/said"), "the latched message")
    picture = Image(height=1, width=1, encoding="rgb8", step=3, data=b"abc")
    late = probe.create_publisher(Image, "left/image", 10)

    def published() -> bool:
        late.publish(picture)
        return recorded("/left/image")()

    ros.until(published, "a picture on a topic that appeared later")
    recorder.close()
    writer.close()
    messages = read(tmp_path / "bag")
    assert [data for topic, _, data in messages if topic == "/said"] == [text("before")]
    late_ones = [deserialize_message(data, Image) for topic, _, data in messages if topic == "/left/image"]
    assert picture in late_ones  # not byte for byte: what pads a serialised message is whatever memory held
    with open_bag(tmp_path / "bag") as bag:
        (said,) = [c for c in bag.connections if c.topic == "/said"]
        assert said.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"
        assert "/rosout" not in bag.topics


def test_what_is_expected_is_heard_from_the_first_message_on(ros: Ros, tmp_path: Path) -> None:
    """Its publisher says it once, as soon as somebody listens, and is gone before it was looked for."""
    writer = BagWriter(tmp_path / "bag", 10**9)
    recorder = ros.node(Recorder, writer)
    recorder.expect([ros_names.TASK, ros_names.ACTION])
    probe: Node = ros.probe()
    publisher = probe.create_publisher(String, ros_names.TASK.name, ros_names.LATCHED_QOS)
    ros.until(publisher.get_subscription_count, "the match")
    publisher.publish(String(data="once"))
    ros.until(lambda: recorder.recorded["/task"], "the message")
    lossy = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    weaker = probe.create_publisher(ros_names.ACTION.type, ros_names.ACTION.name, lossy)
    ros.until(lambda: recorder.discover() or weaker.get_subscription_count(), "a subscription that asks for less")
    recorder.close()
    writer.close()
    assert read(tmp_path / "bag") == [("/task", read(tmp_path / "bag")[0][1], text("once"))]


def test_names_and_namespaces(tmp_path: Path) -> None:
    assert split_topic("/left/trials/ack", ["trials", "trials/ack", "ack"]) == ("/left", "trials/ack")
    assert split_topic("/task", ["task"]) == ("", "task")
    assert split_topic("/other", ["task"]) == ("", "/other")
    two = bag_of(tmp_path / "two", [("/left/task", 1, text("")), ("/right/task", 2, text(""))])
    none = bag_of(tmp_path / "none", [("/a", 1, text(""))])
    with open_bag(two) as bag:
        assert namespace_of(bag, "right") == "/right"
        with pytest.raises(BagError, match="graphs in the namespaces /left, /right; say which by --namespace"):
            namespace_of(bag, None)
        with pytest.raises(BagError, match="holds no graph in namespace '/up'; it has /left, /right"):
            namespace_of(bag, "up")
    with open_bag(none) as bag, pytest.raises(BagError, match="no topic `task`"):
        namespace_of(bag, None)


def test_a_file_that_was_cut_anywhere_gives_back_its_whole_chunks(tmp_path: Path) -> None:
    """Chunks are of 1 MB: messages of 300 kB come in fours."""
    data = [text(f"{n}" * 300_000) for n in range(9)]
    whole = bag_of(tmp_path / "whole", [("/a", n, one) for n, one in enumerate(data)])
    content = (whole / "whole_0.mcap").read_bytes()
    saved = set()
    for percent in range(5, 100, 8):
        cut = tmp_path / f"cut{percent}" / ".recording" / "cut_0"
        cut.mkdir(parents=True)
        (cut / "cut_0.mcap").write_bytes(content[: len(content) * percent // 100])
        count, remarks = recover(tmp_path / f"cut{percent}", tmp_path / f"out{percent}", 10**9)
        assert "was not closed" in remarks[0]
        assert [message for _, _, message in read(tmp_path / f"out{percent}")] == data[:count]
        saved.add(count)
    assert saved == {0, 4, 8}
    assert recover(whole, tmp_path / "same", 10**9) == (9, [])
    assert read(tmp_path / "same") == read(whole)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_messages_are_counted_and_a_damaged_bag_is_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Every kind of message that is imported, with bytes changed in it, or in the file around it."""
    folder = tmp_path_factory.mktemp("bags")
    stamped = scalars_to_msg({"reward": 0.0, "success": 0.0, "probability": 0.0, "valid": 1.0}, 7)
    said = {
        "task": String(data="{}"),
        "trial_events": String(data='{"event": "closed"}'),
        "image": image_to_msg(Frame(np.zeros((32, 16, 3), np.uint8), 7, "camera")),
        "reward": stamped,
        "joint_states": stamped,
        "trials": bytes_to_msg(b"abc"),
        "weights": bytes_to_msg(b"MELDpart"),
    }
    types = {topic.name: topic.type for topic in HEARD}
    raw = {name: bytearray(serialize_message(msg)) for name, msg in said.items()}
    for name in data.draw(st.lists(st.sampled_from(sorted(raw)), max_size=4)):
        raw[name][data.draw(st.integers(0, len(raw[name]) - 1))] = data.draw(st.integers(0, 255))
    writer = BagWriter(folder / "bag", 10**9)
    for name, message in raw.items():
        kind = types[name]
        writer.add_topic(f"/{name}", f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}")
        writer.write(f"/{name}", 1, bytes(message))
    writer.close()
    path = folder / "bag" / "bag_0.mcap"
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        with open_bag(folder / "bag") as bag:
            hearing = Hearing(bag, SMALL, namespace_of(bag, None))
            assert Importer(SMALL, folder / "out").run(Recording(hearing)).stored == 0
    except BagError as error:
        assert "\n" not in str(error).strip()
