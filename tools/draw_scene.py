"""Draw docs/images/teleop_scene.png: the markers that RViz would be sent in a trial of the demo, by matplotlib.

RViz itself is not here. Every point, colour and text comes from the messages that view_node, policy_node and
teleop_node publish; the arm is drawn as lines between the frames that tf2_ros would be told.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from meld_core.agent import Agent
from meld_core.announce import GateReport
from meld_core.arm.urdf_tree import UrdfTree, product, rotated
from meld_core.config import Config, from_mapping
from meld_core.demo import demo_weights
from meld_core.driver import Driver
from meld_core.robot import GateState
from meld_core.rollout import Bench, MemorySink
from meld_core.schedule import held_out_plans
from meld_core.sim.arm import JOINT_NAMES
from meld_core.teleop.scene import GATE_COLORS, Trail, believed_ports, box_edges, gate_text, text_position
from meld_ros import markers
from meld_ros.description import robot_description
from meld_ros.marker_server import tool_marker

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "teleop_scene.png"
WAITS = "a person to bring the arm to its start pose (trial 1, episode 2): reset_done"


def episode(config: Config, agent: Agent) -> tuple[list[np.ndarray], np.ndarray, Any]:
    """The tool's way in the first episode of an unseen task, its last joints, and what the agent believes then."""
    driver = Driver(config, agent, MemorySink(), run="scene", boot="0" * 32)
    plan, way = held_out_plans(config, 1, 1000)[0], []
    with Bench(config) as bench:
        bench.set_task(plan.task)
        driver.begin_trial(plan)
        observation, extras = bench.reset()
        action = driver.tick(observation, None, extras)
        while action is not None:
            way.append(observation.state.tool_position)
            observation, executed, extras = bench.step(action)
            action = driver.tick(observation, executed, extras)
        way.append(observation.state.tool_position)
    return way, observation.state.joints, agent.believed_ports()


def arm_points(config: Config, joints: np.ndarray) -> np.ndarray:
    """Origins of the arm's frames from the base to the plug's tip, (N, 3) [m]."""
    tree = UrdfTree(robot_description(config)).transforms(dict(zip(JOINT_NAMES, joints.tolist(), strict=True)))
    child_of = {t.child: t for t in tree}
    chain, link = [], "plug_tip"
    while link in child_of:
        chain.append(child_of[link])
        link = child_of[link].parent
    place, turn, points = np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), [np.zeros(3)]
    for step in reversed(chain):
        place, turn = place + rotated(turn, step.translation), product(turn, step.rotation)
        points.append(place)
    return np.array(points)


def xyz(points: Any) -> np.ndarray:
    """Points of a message, (N, 3)."""
    return np.array([(point.x, point.y, point.z) for point in points])


def main() -> int:
    """Draw."""
    weights = demo_weights()
    config = from_mapping(Config, weights.config)
    agent = Agent(config)
    agent.load(weights)
    way, joints, believed = episode(config, agent)
    trail = Trail(config.teleop.trail)
    for position in way:
        trail.add(position)
    report = GateReport(GateState.TELEOP, "waiting for a person to bring the arm to its start pose", None, 0, (), WAITS)
    box = markers.lines("workspace", box_edges(config), (0.6, 0.6, 0.65), strip=False, width=0.001)
    line = markers.lines("trail", trail.points, (0.95, 0.8, 0.3), strip=True, width=0.0015)
    color = GATE_COLORS[report.state]
    gate = markers.text("gate", gate_text(report), text_position(config), color=color, height=0.012)
    balls = markers.belief_markers(believed_ports(*believed)).markers
    figure = plt.figure(figsize=(9, 6.6), facecolor="#303030")
    axes: Any = figure.add_subplot(projection="3d", computed_zorder=False)
    axes.set_facecolor("#303030")
    for start, end in xyz(box.points).reshape(-1, 2, 3):
        axes.plot(*np.stack([start, end]).T, color=(0.6, 0.6, 0.65), linewidth=1.0)
    axes.plot(*xyz(line.points).T, color=(0.95, 0.8, 0.3), linewidth=1.6)
    axes.plot(*arm_points(config, joints).T, color="#c9d3dd", linewidth=5, alpha=0.8, marker="o", markersize=5)
    for ball in balls[::2]:
        axes.scatter(*xyz([ball.pose.position]).T, color=[(ball.color.r, ball.color.g, ball.color.b)], s=160,
                     edgecolors="white")  # fmt: skip
    for text in balls[1::2]:
        axes.text(*xyz([text.pose.position])[0], text.text, color="white", fontsize=8, ha="center")
    tool = tool_marker(way[-1])
    place, reach = xyz([tool.pose.position])[0], tool.scale / 2
    axes.scatter(*place, color=[(0.10, 0.45, 0.95)], s=220, alpha=0.9)
    for direction, shade in zip(np.eye(3), ("#ff5555", "#55dd55", "#5588ff"), strict=True):
        axes.plot(*np.stack([place - reach * direction, place + reach * direction]).T, color=shade, linewidth=2)
    where = gate.pose.position
    axes.text(where.x, where.y, where.z, gate.text, color=color, fontsize=9, ha="center")
    menu = "menu of the ball:\n" + "\n".join(entry.title for entry in tool.menu_entries)
    figure.text(0.02, 0.03, menu, color="white", fontsize=8)
    figure.text(0.98, 0.02, "drawn from the messages by matplotlib: this is not RViz", color="#aaaaaa", fontsize=7,
                ha="right")  # fmt: skip
    axes.set(xlim=(0.12, 0.40), ylim=(-0.14, 0.14), zlim=(0.0, 0.28))
    axes.set_axis_off()
    axes.view_init(elev=22, azim=-60)
    axes.set_box_aspect((1, 1, 1), zoom=1.35)
    figure.savefig(OUT, dpi=110, facecolor=figure.get_facecolor())
    print(OUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
