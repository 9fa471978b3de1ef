"""Recorder: raw messages of every topic into a bag, with the QoS that their publishers offer."""

from __future__ import annotations

import heapq
import importlib
import itertools
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from meld_ros.bags import library
from meld_ros.bags.hear import HEARD
from meld_ros.bags.writer import BagWriter
from meld_ros.conversions import Topic

_DEPTH = 1000
"""Messages of a topic that may wait while the disk is busy."""
_PATIENCE = 500_000_000
"""Messages are put in order within this time [ns]."""
_NOT_ALL = ("/rosout", "/parameter_events")


class InOrder:
    """Sorts messages by their time: an executor takes those that wait topic by topic.

    Args:
        write: Takes topic, time [ns] and bytes; times never go back.
    """

    def __init__(self, write: Callable[[str, int, bytes], None]) -> None:
        self._write = write
        self._waiting: list[tuple[int, int, str, bytes]] = []
        self._number = itertools.count()
        self._newest, self._written = 0, 0

    def add(self, topic: str, stamp: int, data: bytes) -> None:
        """Take one message; those that nothing earlier can precede any more are written."""
        heapq.heappush(self._waiting, (stamp, next(self._number), topic, data))
        self._newest = max(self._newest, stamp)
        self.flush(self._newest - _PATIENCE)

    def close(self) -> None:
        """Write the rest."""
        self.flush(self._newest)

    def flush(self, until: int) -> None:
        """Write what arrived until a time [ns]."""
        while self._waiting and self._waiting[0][0] <= until:
            stamp, _, topic, data = heapq.heappop(self._waiting)
            self._written = max(self._written, stamp)
            self._write(topic, self._written, data)


class Recorder(Node):
    """Subscribes to what there is and to what appears later; to what a graph of ours will say, before it begins.

    Args:
        writer: Of the bag.
        topics: Full names of the topics to record; empty for all but /rosout and /parameter_events.
    """

    def __init__(self, writer: BagWriter, topics: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__("meld_recorder", **kwargs)
        self._bag, self._wanted = writer, set(topics)
        self._ordered = InOrder(writer.write)
        self._subscriptions_of: dict[str, Subscription[Any]] = {}
        self._expected: dict[str, Topic] = {}
        self._described: set[str] = set()
        self._last: dict[tuple[str, bytes], int] = {}
        self.recorded: Counter[str] = Counter()
        """Messages per topic."""
        self.dropped: Counter[str] = Counter()
        """Messages per topic that were published but did not arrive, by their publishers' numbering."""
        self.refused: list[str] = []
        """Topics that cannot be recorded, one sentence each."""

    def expect(self, topics: Iterable[Topic]) -> None:
        """Subscribe to topics whose publishers are still to come, so that not even their first message is missed."""
        for topic in topics:
            name = topic.name if topic.name.startswith("/") else f"/{topic.name}"
            if self._wants(name):
                self._expected[name] = topic
                self._subscribe(name, topic.type, adapted([topic.qos]))

    def discover(self) -> None:
        """Subscribe to topics that have appeared; call it a few times a second."""
        for name, kinds in self.get_topic_names_and_types(no_demangle=False):
            if not self._wants(name) or name in self._described:
                continue
            offers = self.get_publishers_info_by_topic(name)
            if offers:
                self._take_on(name, kinds, offers)

    def _wants(self, name: str) -> bool:
        return name in self._wanted if self._wanted else name not in _NOT_ALL

    def _take_on(self, name: str, kinds: Sequence[str], offers: Sequence[TopicEndpointInfo]) -> None:
        """Describe a topic in the bag; subscribe to it, anew where its publishers offer less than was expected."""
        self._described.add(name)
        kind = message_type(kinds[0])
        if len(kinds) > 1 or kind is None or not self._bag.knows(kinds[0]):
            reason = "several types" if len(kinds) > 1 else f"type {kinds[0]}, whose definition is not known here"
            self.refused.append(f"{name} is not recorded: it has {reason}")
            return
        profiles = [offer.qos_profile for offer in offers]
        self._bag.add_topic(name, kinds[0], [described(profile) for profile in profiles])
        known, qos = self._subscriptions_of.get(name), adapted(profiles)
        if known is not None and not satisfied(known.qos_profile, qos):
            self.destroy_subscription(self._subscriptions_of.pop(name))
        if name not in self._subscriptions_of:
            self._subscribe(name, kind, qos)

    def _subscribe(self, name: str, kind: type, qos: QoSProfile) -> None:
        self._subscriptions_of[name] = self.create_subscription(kind, name, self._on_message(name), qos, raw=True)

    def _on_message(self, topic: str) -> Callable[[Any, Any], None]:
        def take(data: bytes, info: dict[str, Any]) -> None:
            if topic not in self._described:
                self._describe(topic)
            self._count(topic, info)
            self._ordered.add(topic, said_at(info), bytes(data))

        return take

    def _describe(self, name: str) -> None:
        """A first message came before its publisher was seen; that may even have gone again."""
        self.discover()
        if name not in self._described:
            expected = self._expected[name]
            kind = "/".join([*expected.type.__module__.split(".")[:2], expected.type.__name__])
            self._bag.add_topic(name, kind, [described(expected.qos)])
            self._described.add(name)

    def _count(self, topic: str, info: dict[str, Any]) -> None:
        """Gaps in a publisher's numbers are messages that were lost; distributions before Jazzy do not tell numbers."""
        self.recorded[topic] += 1
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid")
        if not number or not publisher:
            return
        key = (topic, bytes(publisher["data"]))
        before = self._last.get(key, number - 1)
        self.dropped[topic] += max(0, number - before - 1)
        self._last[key] = max(before, number)

    def settle(self) -> None:
        """Write what has waited long enough, though nothing follows it."""
        self._ordered.flush(time.time_ns() - _PATIENCE)

    def close(self) -> None:
        """Write what waits to be put in order."""
        self._ordered.close()


@contextmanager
def listening(writer: BagWriter, topics: Sequence[str]) -> Iterator[tuple[Recorder, Callable[[float], None]]]:
    """A recorder, and what lets it take messages for some time [s]. Everything is written when this ends."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    recorder = Recorder(writer, [name if name.startswith("/") else f"/{name}" for name in topics])
    recorder.expect(HEARD)
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)

    def take(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0.0:
            executor.spin_once(timeout_sec=left)
        recorder.settle()

    try:
        yield recorder, take
    finally:
        recorder.close()
        writer.close()
        executor.shutdown()
        recorder.destroy_node()
        rclpy.try_shutdown()


def said_at(info: Mapping[str, Any]) -> int:
    """When a message was said [ns]: what was lost and sent again stands where it belongs. When it came, where clocks of
    two machines differ by more than the patience, or ROS does not tell."""
    came = int(info.get("received_timestamp") or time.time_ns())
    said = int(info.get("source_timestamp") or came)
    return said if abs(came - said) < _PATIENCE else came


_PACKAGE = re.compile(r"[a-z][a-z0-9_]*")


def message_type(name: str) -> Any:
    """The class of 'package/msg/Name'; None where its package is not installed."""
    package, _, kind = name.partition("/msg/")
    if not _PACKAGE.fullmatch(package) or package in sys.stdlib_module_names:  # whoever is heard chooses this name
        return None
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind, None)
    except ImportError:
        return None


def adapted(offers: Iterable[QoSProfile]) -> QoSProfile:
    """The strictest subscription that all these publishers satisfy, as rosbag2 chooses it."""
    known = list(offers)
    reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in known)
    latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in known)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def satisfied(asked: QoSProfile, offered: QoSProfile) -> bool:
    """Whether publishers that offer this reach a subscription that asks for that."""
    reliable = offered.reliability == ReliabilityPolicy.RELIABLE or asked.reliability != ReliabilityPolicy.RELIABLE
    latched = DurabilityPolicy.TRANSIENT_LOCAL
    return reliable and (offered.durability == latched or asked.durability != latched)


def described(qos: QoSProfile) -> Any:
    """A QoS profile as rosbags writes it; the numbers of the policies are rmw's in both."""
    interfaces = library("interfaces")

    def seconds(duration: Duration) -> Any:
        return interfaces.QosTime(*divmod(int(duration.nanoseconds), 1_000_000_000))

    return interfaces.Qos(
        interfaces.QosHistory(int(qos.history)),
        qos.depth,
        interfaces.QosReliability(int(qos.reliability)),
        interfaces.QosDurability(int(qos.durability)),
        seconds(qos.deadline),
        seconds(qos.lifespan),
        interfaces.QosLiveliness(int(qos.liveliness)),
        seconds(qos.liveliness_lease_duration),
        qos.avoid_ros_namespace_conventions,
    )
