"""What is drawn for people: joint transforms, box, trail, gate text, believed ports; numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meld_core.agent import Agent
from meld_core.announce import GateReport
from meld_core.arm.urdf_tree import UrdfTree, product, rotated
from meld_core.config import Config, load_config
from meld_core.kinematics import ArmKinematics
from meld_core.robot import GateState
from meld_core.sim.arm import JOINT_NAMES, NOMINAL_JOINTS
from meld_core.teleop.scene import Trail, believed_ports, box_edges, gate_text
from meld_core.teleop.screen import help_lines, rows
from meld_core.teleop.session import Session
from meld_core.trial import RowFlags
from meld_core.types import Observation, Reward, RobotState

HALF = math.sqrt(0.5)
URDF = """<robot name="two">
  <joint name="turn" type="revolute"><parent link="a"/><child link="b"/>
    <origin xyz="0 0 0.072" rpy="0 0 1.5707963267948966"/><axis xyz="0 0 1"/></joint>
  <joint name="slide" type="prismatic"><parent link="b"/><child link="c"/>
    <origin xyz="1 0 0" rpy="0 0 1.5707963267948966"/><axis xyz="1 0 0"/></joint>
</robot>"""


def test_joints_turn_and_slide_about_their_axes() -> None:
    """A quarter turn of the origin and one of the joint: half a turn about z. The slide runs along b's y."""
    turn, slide = UrdfTree(URDF).transforms({"turn": math.pi / 2, "slide": 0.5})
    assert (turn.parent, turn.child) == ("a", "b")
    assert turn.translation.tolist() == [0.0, 0.0, 0.072]
    assert np.abs(turn.rotation).tolist() == pytest.approx([0.0, 0.0, 1.0, 0.0], abs=1e-12)
    assert slide.translation.tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert slide.rotation.tolist() == pytest.approx([0.0, 0.0, HALF, HALF])


def test_the_chain_of_our_urdf_ends_where_our_kinematics_ends() -> None:
    xacro = pytest.importorskip("xacro")
    from pathlib import Path

    path = Path(__file__).resolve().parents[2] / "urdf" / "insertion.urdf.xacro"
    tree = UrdfTree(xacro.process_file(str(path)).toxml())
    joints = np.add(NOMINAL_JOINTS, [0.3, 0.1, -0.2, 0.4, 0.1, -0.5])
    parents = {t.child: t for t in tree.transforms(dict(zip(JOINT_NAMES, joints.tolist(), strict=True)))}
    place, turn, link = np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), "plug_tip"
    while link in parents:
        step = parents[link]
        place, turn, link = step.translation + rotated(step.rotation, place), product(step.rotation, turn), step.parent
    position, orientation = ArmKinematics().forward(joints)
    assert link == "base_link"
    assert place.tolist() == pytest.approx(position.tolist(), abs=1e-6)
    assert abs(float(turn @ orientation)) == pytest.approx(1.0, abs=1e-6)


def test_the_box_has_twelve_edges_of_its_sizes() -> None:
    edges = box_edges(Config()).reshape(12, 2, 3)
    lengths = sorted(np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1).round(9).tolist())
    assert lengths == [0.05] * 4 + [0.12] * 4 + [0.2] * 4
    assert len({tuple(corner) for edge in edges.round(9).tolist() for corner in map(tuple, edge)}) == 8


def test_the_trail_forgets_what_is_old_and_ignores_rest() -> None:
    trail = Trail(2)
    assert [trail.add(np.array([x, 0.0, 0.0])) for x in (0.0, 0.0004, 0.001, 0.002)] == [True, False, True, True]
    assert [point[0] for point in trail.points] == [0.001, 0.002]


def test_the_gate_s_text_says_state_reason_and_whom_it_waits_for() -> None:
    assert gate_text(GateReport(GateState.POLICY, "", None, 1)) == "POLICY"
    report = GateReport(GateState.TELEOP, "why", None, 0, (), "a person: reset_done")
    assert gate_text(report) == "TELEOP\nwaiting for a person: reset_done"


def test_believed_ports_are_coloured_from_dark_to_yellow() -> None:
    low, high = believed_ports(np.zeros((2, 3)), np.array([0.0, 1.0]))
    assert low.text == "port 1: 0.00"
    assert [round(255 * part) for part in low.color] == [24, 26, 32]
    assert [round(255 * part) for part in high.color] == [250, 214, 90]


@pytest.mark.parametrize("box", [(), ("task.ports=4", "model.ports=3")], ids=["its own box", "a box of four"])
def test_an_agent_says_where_it_believes_the_ports_in_base_link(box: tuple[str, ...]) -> None:
    """The readout counts actions from the tool: (1, -2, 0) of 20 mm from (0.30, 0, 0.08) m is (0.32, -0.04, 0.08)."""
    import torch

    config = load_config(overrides=box)
    agent = Agent(config)
    assert agent.believed_ports() is None
    state = RobotState(np.zeros(6), np.zeros(6), np.array([0.30, 0.0, 0.08]), np.array([0.0, 0.0, 0.0, 1.0]), 1)
    size = config.sim.image_size
    image = np.zeros((2 * size, size, 3), np.uint8)
    flags = RowFlags(0, 0, True, True, False, False, False, False)
    agent.begin_trial(0)
    agent.observe(Observation(image, state, Reward(0.0, False, 0.0), 1), flags, np.zeros(3, np.float32))
    assert agent._belief is not None
    agent._belief = agent._belief.clone()
    agent._belief[0, -12:-8] = torch.tensor([1.0, -2.0, 0.0, 0.75])
    positions, expected = agent.believed_ports() or (np.zeros(0), np.zeros(0))
    assert positions.shape == (3, 3)
    assert positions[0].tolist() == pytest.approx([0.32, -0.04, 0.08])
    assert expected[0] == 0.75


class Nobody:
    """A link that nobody listens to."""

    def command(self, action: np.ndarray, stamp: int) -> None: ...

    def let_go(self, reason: str) -> None: ...

    def request(self, name: str) -> None: ...


def test_the_keyboard_s_screen_shows_the_tool_between_its_limits() -> None:
    session = Session(Config(), Nobody())
    assert dict(rows(session))["gate"] == "no robot_node is heard"
    session.on_report(GateReport(GateState.TELEOP, "why", None, 0, (), "a person"))
    session.on_tool(np.array([0.30, -0.2, 0.094]), 1)
    shown = dict(rows(session))
    assert shown["gate"] == "TELEOP  why"
    assert shown["waits for"] == "a person"
    assert shown["tool"] == "0.300 -0.200 0.094 m"
    assert shown["tool x"] == "  0.300 m  [0.241 ------------|----------- 0.359]"
    assert shown["tool y"].startswith(" -0.200 m  [-0.099 |---"), "outside is shown at the face"
    assert shown["tool z"].endswith("-| 0.094]")
    assert help_lines({" ": "stop", "\n": "reset_done"})[1] == "space stop   Enter done: begin the episode"
