"""What RViz is shown besides the arm: the workspace box, the tool's trail, the gate's state as text, the belief."""

from __future__ import annotations

import collections
import dataclasses
import itertools

import numpy as np

from meld_core.announce import GateReport
from meld_core.config import Config
from meld_core.reporting.belief_strip import heat
from meld_core.robot import GateState
from meld_core.sim.arm import workspace

Color = tuple[float, float, float]
GATE_COLORS: dict[GateState, Color] = {
    GateState.HOLD: (1.0, 0.75, 0.2),
    GateState.POLICY: (0.35, 0.85, 0.45),
    GateState.TELEOP: (0.35, 0.65, 1.0),
    GateState.RESET: (0.8, 0.8, 0.8),
    GateState.STOPPED: (1.0, 0.25, 0.2),
}
_BESIDE = np.array([0.0, 0.0, 0.06])
"""The gate's text stands so far above the box [m]."""
_STEP = 0.0005
"""The trail gets a point when the tool moved this far [m]."""


class Trail:
    """The tool's newest positions."""

    def __init__(self, length: int) -> None:
        self.points: collections.deque[np.ndarray] = collections.deque(maxlen=length)

    def add(self, position: np.ndarray) -> bool:
        """A position (3,) [m]; whether the trail grew."""
        if self.points and float(np.linalg.norm(position - self.points[-1])) < _STEP:
            return False
        self.points.append(position)
        return True


def box_edges(config: Config) -> np.ndarray:
    """The 12 edges of the workspace as pairs of corners, (24, 3) [m] in base_link."""
    corners = np.array(workspace(config))
    points = []
    for axis in range(3):
        others = [i for i in range(3) if i != axis]
        for chosen in itertools.product((0, 1), repeat=2):
            for end in (0, 1):
                point = np.empty(3)
                point[axis] = corners[end, axis]
                point[others] = [corners[which, i] for which, i in zip(chosen, others, strict=True)]
                points.append(point)
    return np.array(points)


def gate_text(report: GateReport) -> str:
    """The gate's state, then why, or whom it waits for; at most three lines."""
    reason = report.reason if not report.waits_for or report.state is GateState.STOPPED else ""
    lines = [report.state.value, reason, f"waiting for {report.waits_for}" if report.waits_for else ""]
    return "\n".join(line for line in lines if line)


def text_position(config: Config) -> np.ndarray:
    """Where the gate's text stands, (3,) [m]."""
    lower, upper = workspace(config)
    return np.array([*(lower + upper)[:2] / 2, upper[2]]) + _BESIDE


@dataclasses.dataclass(frozen=True)
class BelievedPort:
    """What the belief says of one port."""

    position: np.ndarray
    """(3,) [m] in base_link."""
    expected: float
    """The reward that it expects there, in [0, 1]."""
    color: Color
    text: str


def believed_ports(positions: np.ndarray, expected: np.ndarray) -> list[BelievedPort]:
    """Ports as they are drawn: dark where no reward is expected, yellow where it is certain.

    Args:
        positions: (P, 3) [m] in base_link.
        expected: (P,) in [0, 1].
    """
    colors = heat(expected) / 255.0
    return [
        BelievedPort(position, float(value), (float(r), float(g), float(b)), f"port {number}: {value:.2f}")
        for number, (position, value, (r, g, b)) in enumerate(zip(positions, expected, colors, strict=True), start=1)
    ]
