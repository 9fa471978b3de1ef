"""A person's hand: drags, clicks, joystick, keys and menu become bounded steps and requests; numbers by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from meld_core.announce import GateReport
from meld_core.config import Config, GateConfig, TeleopConfig
from meld_core.robot import GateState
from meld_core.teleop.motion import Box, joystick_direction, step_to
from meld_core.teleop.session import MENU, Event, Feedback, Session

CONFIG = Config(gate=GateConfig(workspace_margin=0.001))
"""Box: x 0.24..0.36, y -0.1..0.1, z 0.045..0.095 m, less a margin of 1 mm; steps of 20 mm every 0.25 s."""
START = np.array([0.30, 0.0, 0.07])
PERIOD = 250_000_000


def off(x: float, y: float, z: float) -> np.ndarray:
    """A position beside the start [m]."""
    return START + np.array([x, y, z])


class Hand:
    """A session with a clock and a tool in the test's hand."""

    def __init__(self, state: GateState = GateState.TELEOP, config: Config = CONFIG) -> None:
        self.now = 10.0
        self.commands: list[tuple[list[float], int]] = []
        self.left: list[str] = []
        self.asked: list[str] = []
        self.session = Session(config, self, lambda: self.now)
        self.session.on_report(GateReport(state, "", None, 0))
        self.session.on_tool(START, PERIOD)

    def command(self, action: np.ndarray, stamp: int) -> None:
        assert action.dtype == np.float32
        self.commands.append(([round(float(part), 4) for part in action], stamp))

    def let_go(self, reason: str) -> None:
        self.left.append(reason)

    def request(self, name: str) -> None:
        self.asked.append(name)

    def drag(self, *position: float, client: str = "rviz", event: Event = Event.MOVED, entry: int = 0) -> None:
        self.session.on_feedback(Feedback(client, event, np.array(position or START), entry))

    def tick(self, after: float = 0.04) -> None:
        self.now += after
        self.session.tick()


def test_one_step_of_a_straight_line() -> None:
    """30 mm along x and 15 mm along -y at 20 mm: (1.5, -0.75), scaled to a largest component of 1: (1, -0.5, 0)."""
    assert step_to(off(0.030, -0.015, 0.0), START, 0.020, 1.0).tolist() == pytest.approx([1.0, -0.5, 0.0])
    assert step_to(off(0.030, -0.015, 0.0), START, 0.020, 0.5).tolist() == pytest.approx([0.5, -0.25, 0.0])
    assert step_to(off(0.010, 0.0, 0.0), START, 0.020, 1.0).tolist() == pytest.approx([0.5, 0.0, 0.0])
    assert step_to(START, START, 0.020, 1.0).tolist() == [0.0, 0.0, 0.0]


def test_fault_30_a_goal_outside_is_clamped_to_the_box_less_its_margin() -> None:
    box = Box(CONFIG)
    assert box.clamp(np.array([0.9, -0.9, 0.0])).tolist() == pytest.approx([0.359, -0.099, 0.046])
    assert box.clamp(np.array([0.0, 0.9, 0.9])).tolist() == pytest.approx([0.241, 0.099, 0.094])


def test_a_drag_is_one_step_per_observation_and_signs_of_life_between() -> None:
    hand = Hand()
    hand.drag(event=Event.DOWN)
    hand.tick()
    assert hand.commands == [], "pressing moves nothing"
    hand.drag(0.90, 0.0, 0.07)
    for _ in range(3):
        hand.tick()
        hand.drag(event=Event.ALIVE)
    assert hand.commands == [([1.0, 0.0, 0.0], PERIOD)] * 3
    hand.session.on_tool(np.array([0.35, 0.0, 0.07]), 2 * PERIOD)
    hand.tick(0.01)
    assert hand.commands[-1][1] == PERIOD, "not before a control period has passed, however fast the steps come"
    for _ in range(2):
        hand.drag(event=Event.ALIVE)
        hand.tick(0.10)
    assert hand.commands[-1] == ([0.45, 0.0, 0.0], 2 * PERIOD), "9 mm to 0.359 m, the face less its margin"
    hand.session.on_tool(np.array([0.3585, 0.0, 0.07]), 3 * PERIOD)
    hand.tick(0.01)
    assert hand.left == [""], "0.5 mm from the goal is there"


def test_letting_go_of_the_mouse_holds_the_arm_at_once() -> None:
    hand = Hand()
    hand.drag(0.36, 0.0, 0.07)
    hand.tick()
    hand.drag(event=Event.UP)
    assert hand.left == [""]
    assert hand.session.hand == ""
    hand.tick(0.3)
    assert len(hand.commands) == 1


def test_fault_30_silence_holds_the_arm_after_150_ms_and_after_a_second_the_client_is_lost() -> None:
    hand = Hand()
    hand.drag(0.36, 0.0, 0.07)
    hand.tick(0.01)
    hand.tick(0.13)
    assert hand.left == []
    hand.tick(0.02)  # 0.16 s after the last word
    assert hand.left == [""]
    count = len(hand.commands)
    hand.tick(0.10)
    assert len(hand.commands) == count
    hand.drag(event=Event.ALIVE)  # RViz, whose mouse rests: 0.26 s after
    hand.session.on_tool(START, 2 * PERIOD)
    hand.tick(0.01)
    assert len(hand.commands) == count + 1, "it goes on"
    hand.tick(0.90)
    hand.tick(0.15)
    assert hand.left == ["", "", "marker client 'rviz' fell silent"]
    assert hand.session.hand == ""


def test_fault_30_a_second_client_is_refused_and_the_first_goes_on() -> None:
    hand = Hand()
    hand.drag(0.32, 0.0, 0.07, client="one")
    hand.drag(0.25, 0.0, 0.07, client="two")
    hand.drag(client="two", event=Event.UP)
    hand.tick()
    assert hand.commands == [([1.0, 0.0, 0.0], PERIOD)]
    assert hand.session.refused == {"marker client 'two'": 2}
    assert "marker client 'two' is refused: marker client 'one' moves the arm" in hand.session.take_said()
    hand.session.on_joystick([0, 1, 0, 0, 0], [0, 0, 0, 0, 1])
    hand.session.on_clicked(START)
    assert sum(hand.session.refused.values()) == 4
    hand.drag(client="two", event=Event.MENU, entry=2)
    assert hand.asked == []
    hand.drag(client="two", event=Event.MENU, entry=1 + list(MENU).index("stop"))
    assert hand.asked == ["stop"], "anybody may stop"
    hand.drag(0.25, 0.0, 0.07, client="two")
    assert hand.session.hand == "marker client 'two'"


@pytest.mark.parametrize("state", [GateState.HOLD, GateState.POLICY, GateState.RESET, GateState.STOPPED])
def test_nothing_is_commanded_but_in_teleop(state: GateState) -> None:
    hand = Hand(state)
    hand.drag(0.36, 0.0, 0.07)
    hand.session.on_clicked(START + 0.01)
    hand.session.on_key("w")
    hand.session.on_joystick([0, 1, 0, 0, 0], [0, 0, 0, 0, 1])
    hand.tick()
    assert hand.commands == []
    assert hand.session.latest == f"the arm is not yours to move (gate: {state.value}): Take the arm first"


def test_a_wish_ends_with_teleop() -> None:
    hand = Hand()
    hand.session.on_clicked(off(0.05, 0.0, 0.0))
    hand.tick()
    hand.session.on_report(GateReport(GateState.STOPPED, "pressed", None, 0))
    hand.session.on_report(GateReport(GateState.TELEOP, "", None, 0))
    hand.session.on_tool(START, 2 * PERIOD)
    hand.tick(0.3)
    assert len(hand.commands) == 1


def test_a_clicked_point_needs_no_hand_that_stays_and_is_given_up_when_it_comes_no_nearer() -> None:
    hand = Hand()
    hand.session.on_clicked(off(0.05, 0.0, 0.0))
    for number in range(2, 40):
        hand.session.on_tool(START, number * PERIOD)
        hand.tick(0.25)
    assert hand.session.latest == "the tool comes no nearer than 50 mm: given up"
    assert hand.left == [""]
    assert len(hand.commands) == 26, "25 vain steps after the first"


def test_keys_add_up_and_ask() -> None:
    """Two times 10 mm forward and one up: a goal 20 mm ahead and 10 mm above."""
    hand = Hand()
    for key in "wwr":
        hand.session.on_key(key)
    hand.tick()
    assert hand.commands == [([1.0, 0.0, 0.5], PERIOD)]
    for key in ("\n", " ", "+", "x"):
        hand.session.on_key(key)
    assert hand.asked == ["reset_done", "stop", "label_success"]
    assert hand.left == [""], "a request ends the wish"


def test_a_joystick_moves_while_its_button_is_held_and_speaks() -> None:
    config = TeleopConfig(joy_axes=(1, 0, 4), joy_deadzone=0.15, joy_enable=4)
    axes = [0.1, -0.5, 0.0, 0.0, 1.0]
    assert joystick_direction(axes, [0, 0, 0, 0, 0], config) is None
    assert joystick_direction(axes, [0], config) is None
    direction = joystick_direction(axes, [0, 0, 0, 0, 1], config)
    assert direction is not None
    assert direction.tolist() == [-0.5, 0.0, 1.0]
    hand = Hand(config=dataclasses.replace(CONFIG, teleop=config))
    hand.session.on_joystick(axes, [0, 0, 0, 0, 1])
    hand.tick()
    # a step of (-10, 0, 20) mm from z = 0.070 is within the box (0.094)
    assert hand.commands == [([-0.5, 0.0, 1.0], PERIOD)]
    hand.session.on_joystick(axes, [1, 0, 0, 0, 0], pressed=[0])
    assert hand.left == [""]
    assert hand.asked == ["reset_done"]


def test_the_menu_is_numbered_from_one_and_knows_its_end() -> None:
    hand = Hand(GateState.HOLD)
    for entry in range(1, len(MENU) + 1):
        hand.drag(event=Event.MENU, entry=entry)
    assert hand.asked == list(MENU)
    hand.drag(event=Event.MENU, entry=10)
    assert hand.session.latest == "there is no menu entry 10"
    hand.session.on_answer("park", False, "the arm is STOPPED")
    assert hand.session.latest == "Park: refused, the arm is STOPPED"


def test_what_is_no_position_moves_nothing() -> None:
    hand = Hand()
    hand.drag(float("nan"), 0.0, 0.07)
    hand.tick()
    assert hand.commands == []
