"""The transforms of a URDF's joints, for those who draw the arm: from parent link to child link, by joint position."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from xml.etree import ElementTree

import numpy as np


@dataclasses.dataclass(frozen=True)
class Transform:
    """Where a child link is in its parent link."""

    parent: str
    child: str
    translation: np.ndarray
    """(3,) [m]."""
    rotation: np.ndarray
    """(4,) quaternion x, y, z, w."""


@dataclasses.dataclass(frozen=True)
class _Joint:
    name: str
    kind: str
    parent: str
    child: str
    origin: np.ndarray
    rotation: np.ndarray
    axis: np.ndarray


class UrdfTree:
    """The joints of one robot description."""

    def __init__(self, urdf: str) -> None:
        self._joints = [_joint(element) for element in ElementTree.fromstring(urdf).iter("joint")]

    def transforms(self, positions: Mapping[str, float]) -> list[Transform]:
        """One per joint; a joint whose position [rad or m] is not given is at 0."""
        return [_transform(joint, positions.get(joint.name, 0.0)) for joint in self._joints]


def _joint(element: ElementTree.Element) -> _Joint:
    origin, axis = element.find("origin"), element.find("axis")
    parent, child = element.find("parent"), element.find("child")
    assert parent is not None
    assert child is not None
    return _Joint(
        element.attrib["name"],
        element.attrib["type"],
        parent.attrib["link"],
        child.attrib["link"],
        _numbers(origin, "xyz", (0.0, 0.0, 0.0)),
        _from_rpy(_numbers(origin, "rpy", (0.0, 0.0, 0.0))),
        _numbers(axis, "xyz", (1.0, 0.0, 0.0)),
    )


def _numbers(element: ElementTree.Element | None, name: str, default: tuple[float, float, float]) -> np.ndarray:
    text = element.attrib.get(name) if element is not None else None
    return np.array(text.split() if text else default, np.float64)


def _from_rpy(rpy: np.ndarray) -> np.ndarray:
    """Fixed axes, roll about x first (URDF)."""
    x, y, z = (_about(axis, angle) for axis, angle in zip(np.eye(3), rpy, strict=True))
    return product(z, product(y, x))


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    unit = axis / np.linalg.norm(axis)
    return np.array([*(unit * math.sin(angle / 2)), math.cos(angle / 2)])


def product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Quaternion (x, y, z, w) that rotates by `second`, then by `first`."""
    (a, b), (v, w) = (first[:3], first[3]), (second[:3], second[3])
    return np.array([*(b * v + w * a + np.cross(a, v)), b * w - a @ v])


def rotated(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """A vector (3,) rotated by a quaternion (x, y, z, w)."""
    turn = 2.0 * np.cross(quaternion[:3], vector)
    return np.asarray(vector + quaternion[3] * turn + np.cross(quaternion[:3], turn))


def _transform(joint: _Joint, position: float) -> Transform:
    translation, rotation = joint.origin, joint.rotation
    if joint.kind in ("revolute", "continuous"):
        rotation = product(rotation, _about(joint.axis, position))
    elif joint.kind == "prismatic":
        translation = translation + rotated(rotation, joint.axis * position)
    return Transform(joint.parent, joint.child, translation, rotation)
