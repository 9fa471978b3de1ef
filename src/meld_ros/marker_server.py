"""The tool's interactive marker, as RViz speaks it: no package of RViz is needed on this side.

Protocol: ros-visualization/interactive_markers (branch rolling). A client asks `<name>/get_interactive_markers` for all
markers and their sequence number, then follows `<name>/update`, whose numbers must grow by one (else it asks again),
and tells what its mouse does on `<name>/feedback`. Keep-alives of the server are a thing of ROS 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import Pose
from rclpy.node import Node
from visualization_msgs.msg import (
    InteractiveMarker,
    InteractiveMarkerControl,
    InteractiveMarkerFeedback,
    InteractiveMarkerPose,
    InteractiveMarkerUpdate,
    Marker,
    MenuEntry,
)
from visualization_msgs.srv import GetInteractiveMarkers

from meld_core.teleop.session import MENU, Event, Feedback
from meld_ros.conversions import BASE_FRAME

NAMESPACE = "teleop/marker"
"""Of the topics and the service; what RViz's display InteractiveMarkers is given."""
MARKER = "tool"
_DEPTH = 100
_SCALE = 0.12
"""Length of the marker's arrows [m]."""
_MOVED = 0.0005
"""A tool that moved less needs no new pose of its marker [m]."""
_HALF = float(np.sqrt(0.5))
_AXES = {"x": (_HALF, 0.0, 0.0, _HALF), "y": (0.0, 0.0, _HALF, _HALF), "z": (0.0, _HALF, 0.0, _HALF)}
"""Orientation (x, y, z, w) of a control whose x axis lies along that axis of base_link."""
_EVENTS = {
    InteractiveMarkerFeedback.MOUSE_DOWN: Event.DOWN,
    InteractiveMarkerFeedback.POSE_UPDATE: Event.MOVED,
    InteractiveMarkerFeedback.KEEP_ALIVE: Event.ALIVE,
    InteractiveMarkerFeedback.MOUSE_UP: Event.UP,
    InteractiveMarkerFeedback.MENU_SELECT: Event.MENU,
}


class MarkerServer:
    """One marker at the tool, with arrows along three axes and a menu.

    Args:
        node: Whose topics and service these are.
        on_feedback: Takes what clients say.
        on_refused: Takes a sentence where a client says what cannot be understood.
    """

    def __init__(self, node: Node, on_feedback: Callable[[Feedback], None], on_refused: Callable[[str], None]) -> None:
        self._on_feedback, self._on_refused = on_feedback, on_refused
        self._sequence = 0
        self._position: np.ndarray | None = None
        self._update = node.create_publisher(InteractiveMarkerUpdate, f"{NAMESPACE}/update", _DEPTH)
        node.create_service(GetInteractiveMarkers, f"{NAMESPACE}/get_interactive_markers", self._on_get)
        node.create_subscription(InteractiveMarkerFeedback, f"{NAMESPACE}/feedback", self._on_message, _DEPTH)

    def show(self, position: np.ndarray) -> None:
        """Put the marker to the tool, (3,) [m] in base_link. A client that drags it keeps it under its mouse."""
        if self._position is None:
            self._position = position
            self._publish(InteractiveMarkerUpdate(markers=[tool_marker(position)]))
        elif float(np.linalg.norm(position - self._position)) > _MOVED:
            self._position = position
            pose = InteractiveMarkerPose(name=MARKER, pose=_pose(position))
            pose.header.frame_id = BASE_FRAME
            self._publish(InteractiveMarkerUpdate(poses=[pose]))

    def put_back(self) -> None:
        """Say the marker's pose again with the next `show`: who let it go may have left it elsewhere."""
        if self._position is not None:
            self._position = np.full(3, np.inf)

    def _publish(self, update: InteractiveMarkerUpdate) -> None:
        self._sequence += 1
        update.server_id, update.seq_num, update.type = NAMESPACE, self._sequence, InteractiveMarkerUpdate.UPDATE
        self._update.publish(update)

    def _on_get(
        self, _: GetInteractiveMarkers.Request, response: GetInteractiveMarkers.Response
    ) -> GetInteractiveMarkers.Response:
        response.sequence_number = self._sequence
        if self._position is not None and np.isfinite(self._position).all():
            response.markers = [tool_marker(self._position)]
        return response

    def _on_message(self, msg: InteractiveMarkerFeedback) -> None:
        if msg.marker_name != MARKER or msg.event_type not in _EVENTS:
            return
        event, point = _EVENTS[msg.event_type], msg.pose.position
        if msg.header.frame_id != BASE_FRAME and event in (Event.MOVED, Event.UP):
            self._on_refused(f"a marker was dragged in frame '{msg.header.frame_id}', expected {BASE_FRAME}")
            return
        position = np.array([point.x, point.y, point.z])
        self._on_feedback(Feedback(msg.client_id, event, position, msg.menu_entry_id))


def tool_marker(position: np.ndarray) -> InteractiveMarker:
    """The marker at a position (3,) [m]: a ball that moves freely and has the menu, an arrow along each axis."""
    marker = InteractiveMarker(name=MARKER, description="tool", scale=_SCALE, pose=_pose(position))
    marker.header.frame_id = BASE_FRAME
    marker.menu_entries = [
        MenuEntry(id=number, title=title, command_type=MenuEntry.FEEDBACK)
        for number, title in enumerate(MENU.values(), start=1)
    ]
    ball = Marker(type=Marker.SPHERE)
    ball.scale.x = ball.scale.y = ball.scale.z = 0.25 * _SCALE
    ball.color.r, ball.color.g, ball.color.b, ball.color.a = 0.10, 0.45, 0.95, 0.8
    marker.controls = [
        InteractiveMarkerControl(
            name="free", interaction_mode=InteractiveMarkerControl.MOVE_3D, always_visible=True, markers=[ball]
        ),
        InteractiveMarkerControl(name="menu", interaction_mode=InteractiveMarkerControl.MENU, always_visible=True),
        *[_arrow(name, orientation) for name, orientation in _AXES.items()],
    ]
    return marker


def _arrow(name: str, orientation: tuple[float, float, float, float]) -> InteractiveMarkerControl:
    control = InteractiveMarkerControl(name=name, interaction_mode=InteractiveMarkerControl.MOVE_AXIS)
    quaternion = control.orientation
    quaternion.x, quaternion.y, quaternion.z, quaternion.w = orientation
    return control


def _pose(position: np.ndarray) -> Pose:
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = position.tolist()
    return pose
