"""The recorder of bags over real DDS: what it hears, in which order, and what it counts as lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

from meld_ros import conversions as ros_names
from meld_ros.bags.reader import open_bag
from meld_ros.bags.recorder import InOrder, Recorder, adapted, said_at
from meld_ros.bags.writer import BagWriter
from meld_ros.qos import LATCHED_QOS, SENSOR_QOS, STEP_QOS, action_qos, keep, remembered

from .bag_builder import read, text
from .conftest import Ros


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
