"""A person at RViz: speaks RViz's side of the interactive marker protocol, and does what the parameter `plan` says.

It imports nothing of meld_core or meld_ros. Sources: ros-visualization/interactive_markers (branch rolling),
src/interactive_marker_client.cpp (states, sequence numbers, pruning), and ros2/rviz (branch rolling),
interactive_marker.cpp: a drag is MOUSE_DOWN, POSE_UPDATE while the mouse moves, KEEP_ALIVE every 0.25 s while it does
not, MOUSE_UP; poses are told in the fixed frame.

`plan` is JSON, a list of:
    {"until": "TELEOP"}                         look at the screen until the gate's state is that
    {"until": "TELEOP", "asked": "start pose"}  ... and the screen asks for that, in a sentence not answered before
    {"drag": [x, y, z], "near": 0.004}          drag the tool's marker there, let go when the tool is that near [m]
    {"drag": [x, y, z], "for": 2.0}             ... or after so many seconds; "for": 1e9 drags until the process dies
    {"menu": "Done"}                            choose the entry whose title begins so
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from visualization_msgs.msg import InteractiveMarker, InteractiveMarkerFeedback, InteractiveMarkerUpdate
from visualization_msgs.srv import GetInteractiveMarkers

TOPICS = "teleop/marker"
FRAME = "base_link"
_PICTURE = 1 / 30
"""RViz draws, and tells of its mouse, this often [s]."""
_KEEP_ALIVE = 0.25
_SETTLED, _PATIENCE = 0.001, 2.0
"""A marker this near the tool [m] has followed it; one that does not is grasped all the same after this long [s]."""
_PULL = 0.15
"""How fast the mouse pulls the marker [m/s]."""


class RvizClient(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("rviz")
        self.plan = json.loads(self.declare_parameter("plan", "[]").value)
        self.client_id = self.declare_parameter("client", "/rviz/InteractiveMarkers").value
        self.markers: dict[str, InteractiveMarker] = {}
        self.sequence: int | None = None
        self.resets = 0
        self.state, self.waits_for, self.answered = "", "", ""
        self.tool: tuple[float, float, float] | None = None
        self._early: list[InteractiveMarkerUpdate] = []
        self._asked: Any = None
        self._feedback = self.create_publisher(InteractiveMarkerFeedback, f"{TOPICS}/feedback", 100)
        self.create_subscription(InteractiveMarkerUpdate, f"{TOPICS}/update", self._on_update, 100)
        self._get = self.create_client(GetInteractiveMarkers, f"{TOPICS}/get_interactive_markers")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "gate_state", self._on_gate, latched)
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(PoseStamped, "tool_pose", self._on_tool, best_effort)
        self._doing = self._do()
        self.create_timer(_PICTURE, self._draw)

    def _on_gate(self, msg: String) -> None:
        report = json.loads(msg.data)
        self.state, self.waits_for = report["state"], report["waits_for"]

    def _on_tool(self, msg: PoseStamped) -> None:
        point = msg.pose.position
        self.tool = (point.x, point.y, point.z)

    def _on_update(self, msg: InteractiveMarkerUpdate) -> None:
        if msg.type != InteractiveMarkerUpdate.UPDATE:
            return
        if self.sequence is None:
            self._early.append(msg)
        elif msg.seq_num != self.sequence + 1:
            self.resets += 1
            self.sequence, self.markers, self._asked = None, {}, None
            self._early = [msg]
        else:
            self._apply(msg)

    def _apply(self, msg: InteractiveMarkerUpdate) -> None:
        self.sequence = msg.seq_num
        self.markers |= {marker.name: marker for marker in msg.markers}
        for pose in msg.poses:
            self.markers[pose.name].pose = pose.pose
        for name in msg.erases:
            del self.markers[name]

    def _initialize(self) -> None:
        """IDLE → INITIALIZE → RUNNING."""
        if self._asked is None:
            if self._get.service_is_ready():
                self._asked = self._get.call_async(GetInteractiveMarkers.Request())
        elif self._asked.done():
            answer = self._asked.result()
            self.sequence = answer.sequence_number
            self.markers = {marker.name: marker for marker in answer.markers}
            early, self._early = self._early, []
            for msg in early:
                if msg.seq_num > answer.sequence_number:
                    self._on_update(msg)

    def _draw(self) -> None:
        if self.sequence is None:
            self._initialize()
        elif self.markers:
            try:
                next(self._doing)
            except StopIteration:
                print(f"plan done, {self.resets} resets", flush=True)
                raise ExternalShutdownException from None

    def _do(self) -> Iterator[None]:
        for act in self.plan:
            if "until" in act:
                while not self._shows(act["until"], act.get("asked", "")):
                    yield
            elif "menu" in act:
                self._choose(act["menu"])
                yield
            else:
                yield from self._drag(act["drag"], act.get("near", 0.0), act.get("for", 60.0))
            print(f"did {json.dumps(act)}", flush=True)

    def _shows(self, state: str, asked: str) -> bool:
        """What lasts until somebody answers is looked for, never what passes: an episode may be over between looks."""
        if self.state != state or (asked and (asked not in self.waits_for or self.waits_for == self.answered)):
            return False
        self.answered = self.waits_for
        return True

    def _choose(self, title: str) -> None:
        entries = next(iter(self.markers.values())).menu_entries
        (number,) = [entry.id for entry in entries if entry.title.startswith(title)]
        self._tell(InteractiveMarkerFeedback.MENU_SELECT, None, number)

    def _drag(self, goal: list[float], near: float, seconds: float) -> Iterator[None]:
        yield from self._wait_for_marker()
        pose = next(iter(self.markers.values())).pose.position
        mouse, goal_reached = [pose.x, pose.y, pose.z], False
        self._tell(InteractiveMarkerFeedback.MOUSE_DOWN, mouse)
        began = told = time.monotonic()
        while time.monotonic() < began + seconds and not (goal_reached and self._near(goal, near)):
            yield
            way = [there - here for there, here in zip(goal, mouse, strict=True)]
            length = sum(part**2 for part in way) ** 0.5
            goal_reached = length < 1e-9
            if not goal_reached:
                share = min(1.0, _PULL * _PICTURE / length)
                mouse = [here + share * part for here, part in zip(mouse, way, strict=True)]
                self._tell(InteractiveMarkerFeedback.POSE_UPDATE, mouse)
                told = time.monotonic()
            elif time.monotonic() - told > _KEEP_ALIVE:
                self._tell(InteractiveMarkerFeedback.KEEP_ALIVE, mouse)
                told = time.monotonic()
        self._tell(InteractiveMarkerFeedback.MOUSE_UP, mouse)

    def _wait_for_marker(self) -> Iterator[None]:
        """The marker follows the tool ten times a second: a person grasps it where it comes to rest, or soon anyway."""
        began = time.monotonic()
        while time.monotonic() < began + _PATIENCE:
            point = next(iter(self.markers.values())).pose.position
            if self._near([point.x, point.y, point.z], _SETTLED):
                return
            yield

    def _near(self, goal: list[float], near: float) -> bool:
        return self.tool is not None and all(abs(a - b) < near for a, b in zip(goal, self.tool, strict=True))

    def _tell(self, event: int, mouse: list[float] | None, entry: int = 0) -> None:
        name, marker = next(iter(self.markers.items()))
        msg = InteractiveMarkerFeedback(client_id=self.client_id, marker_name=name, event_type=event)
        msg.header.frame_id, msg.header.stamp = FRAME, self.get_clock().now().to_msg()
        msg.control_name, msg.menu_entry_id = "free" if mouse else "menu", entry
        msg.pose = marker.pose
        if mouse:
            msg.pose.position.x, msg.pose.position.y, msg.pose.position.z = mouse
        self._feedback.publish(msg)


def main() -> None:
    """Run until the plan is done."""
    rclpy.init()
    node = RvizClient()
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
