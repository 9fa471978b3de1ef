"""Markers and descriptions for RViz: topics, and messages made of what meld_core/teleop/scene.py says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point
from sensor_msgs.msg import Image
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from meld_core.teleop.scene import BelievedPort, Color
from meld_ros.conversions import BASE_FRAME, Topic
from meld_ros.qos import LATCHED_QOS, STEP_QOS

ROBOT_DESCRIPTION = Topic("robot_description", String, LATCHED_QOS)
SCENE = Topic("scene", MarkerArray, LATCHED_QOS)
"""Workspace box, trail of the tool, gate's state."""
BELIEF_IMAGE = Topic("belief/image", Image, STEP_QOS)
BELIEF_MARKERS = Topic("belief/markers", MarkerArray, STEP_QOS)
_PORT = 0.016
"""Diameter of a believed port [m]."""


def lines(name: str, points: np.ndarray | Sequence[np.ndarray], color: Color, *, strip: bool, width: float) -> Marker:
    """Lines through points (N, 3) [m]: one strip, or one line per pair."""
    marker = _marker(name, 0, Marker.LINE_STRIP if strip else Marker.LINE_LIST, color)
    marker.scale.x = width
    marker.points = [_point(point) for point in points]
    return marker


def text(name: str, words: str, position: np.ndarray, *, color: Color, height: float, number: int = 0) -> Marker:
    """Text that faces whoever looks."""
    marker = _marker(name, number, Marker.TEXT_VIEW_FACING, color)
    marker.text, marker.scale.z, marker.pose.position = words, height, _point(position)
    return marker


def belief_markers(ports: Sequence[BelievedPort]) -> MarkerArray:
    """A ball and a text per port."""
    markers = []
    for number, port in enumerate(ports):
        ball = _marker("ports", number, Marker.SPHERE, port.color)
        ball.scale.x = ball.scale.y = ball.scale.z = _PORT
        ball.pose.position = _point(port.position)
        above = port.position + np.array([0.0, 0.0, 0.02])
        markers += [ball, text("expected", port.text, above, color=(0.95, 0.95, 0.95), height=0.010, number=number)]
    return MarkerArray(markers=markers)


def _marker(name: str, number: int, kind: int, color: Color) -> Marker:
    marker = Marker(ns=name, id=number, type=kind, action=Marker.ADD)
    marker.header.frame_id = BASE_FRAME  # stamp 0: always the newest transform
    marker.color.r, marker.color.g, marker.color.b = color
    marker.color.a = 1.0
    return marker


def _point(position: np.ndarray) -> Point:
    x, y, z = (float(part) for part in position)
    return Point(x=x, y=y, z=z)
