"""Listens to a running graph for `meld doctor`: endpoints, messages, heartbeats, parameters. It publishes nothing."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from meld_core.config import Config
from meld_core.doctor.snapshot import Endpoint, Heard, Joints, Picture, StatusSeen, TopicSeen
from meld_ros import conversions as ros
from meld_ros.images import pixels_of
from meld_ros.qos import SENSOR_QOS

_NAME = "doctor"
_LEVELS = {0: "ok", 1: "warn", 2: "error", 3: "error"}
_KEPT = 2000
"""Newest messages of a topic that are kept."""
_INFINITE = 9.0e9
"""DDS's infinite lease, as rclpy tells it, is longer than this [s]."""
_OURS = (ros.JOINT_STATES, ros.TOOL_POSE, ros.IMAGE, ros.DETECTOR_IMAGE, ros.REWARD, ros.ACTION, ros.EXECUTED_ACTION,
         ros.TASK, ros.GATE_STATE, ros.TRIALS, ros.TRIALS_ACK, ros.TRIAL_EVENTS, ros.WEIGHTS)  # fmt: skip


class Probe(Node):
    """Hears what the nodes of one namespace and the arm's driver say.

    Args:
        config: Resolved; names the driver's topics.
        expected: Node → names of its parameters.
    """

    def __init__(self, config: Config, expected: Mapping[str, Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(
            _NAME, enable_rosout=False, start_parameter_services=False, use_global_arguments=False, **kwargs
        )
        self._expected = expected
        self._names = {topic.name: topic.name for topic in _OURS}
        self._heard: dict[str, list[Heard]] = {}
        self._sources: dict[str, set[bytes]] = {}
        self._asked: dict[str, tuple[Any, Any]] = {}
        self.statuses: dict[str, StatusSeen] = {}
        self.parameters: dict[str, dict[str, Any]] = {}
        self.gate: dict[str, Any] = {}
        self._listen("image", Image, config.driver.image, _picture)
        self._listen("detector_image", Image, ros.DETECTOR_IMAGE.name, _picture)
        self._listen("driver.joint_states", JointState, config.driver.joint_states, _joints)
        self._listen("reward", JointState, ros.REWARD.name, ros.scalars_from_msg)
        self._names["/clock"] = "/clock"
        self.create_subscription(Clock, "/clock", self._on_clock, SENSOR_QOS)
        ros.subscription(self, ros.GATE_STATE, self._on_gate)
        ros.subscription(self, ros.DIAGNOSTICS, self._on_diagnostics)

    def _listen(self, key: str, kind: type, topic: str, decode: Callable[[Any], Any]) -> None:
        """Best effort, so that whatever is published there is heard."""
        self._names[key] = topic
        self._heard[key] = []

        def on_message(msg: Any) -> None:
            stamp = ros.stamp_of(msg.header)
            self._keep(key, stamp, decode(msg))

        self.create_subscription(kind, topic, on_message, SENSOR_QOS)

    def _keep(self, key: str, stamp: int, value: Any) -> None:
        heard = self._heard.setdefault(key, [])
        heard.append(Heard(time.monotonic(), stamp, (time.time_ns() - stamp) * 1e-9, value))
        del heard[:-_KEPT]

    def _on_clock(self, msg: Clock) -> None:
        self._keep("/clock", msg.clock.sec * ros.NANOSECONDS + msg.clock.nanosec, None)

    def _on_gate(self, msg: String) -> None:
        try:
            self.gate = dict(json.loads(msg.data))
        except ValueError:
            self.gate = {}

    def _on_diagnostics(self, msg: DiagnosticArray, info: Mapping[str, Any]) -> None:
        gid = info.get("publisher_gid")
        for status in msg.status:
            namespace, _, node = status.name.rpartition("/")
            if (namespace or "/") != self.get_namespace() or node not in self._expected:
                continue
            sources = self._sources.setdefault(node, set())
            sources.add(bytes(gid["data"]) if gid else b"")
            values = {value.key: value.value for value in status.values}
            level = _LEVELS[int.from_bytes(status.level, "little")]
            self.statuses[node] = StatusSeen(level, status.message, values, len(sources))

    def ask_parameters(self) -> None:
        """Ask each node that spoke for its parameters, once."""
        for node in self.statuses.keys() - self._asked.keys():
            client: Any = self.create_client(GetParameters, f"{node}/get_parameters")
            self._asked[node] = (client, None)
        for node, (client, future) in self._asked.items():
            names = list(self._expected[node])
            if future is None and client.service_is_ready():
                self._asked[node] = (client, client.call_async(GetParameters.Request(names=names)))
            elif future is not None and future.done() and node not in self.parameters and future.result() is not None:
                values = [parameter_value_to_python(value) for value in future.result().values]
                self.parameters[node] = dict(zip(names, values, strict=False))

    def nodes(self) -> tuple[str, ...]:
        """Nodes of the graph in this namespace, as discovery tells."""
        known = {name for name, namespace in self.get_node_names_and_namespaces() if namespace == self.get_namespace()}
        return tuple(sorted(known & self._expected.keys()))

    def topics(self) -> dict[str, TopicSeen]:
        """Every topic of interest, without this node's own ends."""
        return {key: self._topic(key, name) for key, name in self._names.items()}

    def _topic(self, key: str, name: str) -> TopicSeen:
        publishers, subscribers = (
            tuple(_endpoint(info) for info in told if info.node_name != _NAME)
            for told in (self.get_publishers_info_by_topic(name), self.get_subscriptions_info_by_topic(name))
        )
        return TopicSeen(publishers, subscribers, tuple(self._heard.get(key, ())))


def _endpoint(info: Any) -> Endpoint:
    qos, lease = info.qos_profile, info.qos_profile.liveliness_lease_duration.nanoseconds * 1e-9
    return Endpoint(
        node=f"{info.node_namespace.rstrip('/')}/{info.node_name}",
        type=info.topic_type,
        reliable=qos.reliability == ReliabilityPolicy.RELIABLE,
        latched=qos.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        lease=float("inf") if lease > _INFINITE or lease == 0 else lease,
    )


def _picture(msg: Image) -> Picture:
    digest, brightness, problem = hashlib.blake2b(msg.data, digest_size=8).hexdigest(), 0.0, ""
    try:
        brightness = float(np.mean(pixels_of(msg)))
    except ValueError as error:
        problem = str(error)
    return Picture(msg.width, msg.height, digest, brightness, problem)


def _joints(msg: JointState) -> Joints:
    return Joints(tuple(msg.name), tuple(msg.position))


@contextmanager
def listening(
    config: Config, expected: Mapping[str, Mapping[str, Any]], namespace: str, domain: int
) -> Iterator[tuple[Probe, Callable[[float], None]]]:
    """A probe in a ROS domain, and what serves it for so many seconds."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    probe = Probe(config, expected, context=context, namespace=namespace)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(probe)

    def serve(seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)

    try:
        yield probe, serve
    finally:
        executor.shutdown()
        probe.destroy_node()
        context.try_shutdown()
