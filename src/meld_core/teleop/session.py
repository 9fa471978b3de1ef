"""Session: one hand at a time on the arm, whatever it holds; silence holds the arm.

    marker drag, clicked point, joystick, key  →  a goal inside the workspace  →  one bounded step per observation
    menu, button, key                          →  a request to the robot's side, or a label

A drag or a joystick moves the arm only while it speaks: after `teleop.patience` of silence the arm is held, after
`teleop.lost_after` whoever dragged is taken for dead and the gate goes to HOLD. A clicked point or a key is a whole
wish: the arm goes there and rests.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from meld_core.announce import GateReport
from meld_core.config import Config
from meld_core.robot import GateState
from meld_core.teleop.motion import KEY_REQUESTS, KEYS, Box, joystick_direction, step_to

MENU: dict[str, str] = {
    "start_reset": "Take the arm",
    "reset_done": "Done: begin the episode",
    "home": "Go to the start pose",
    "park": "Park",
    "stop": "STOP",
    "clear_stop": "Clear the stop",
    "label_success": "Label: success",
    "label_failure": "Label: failure",
    "next_task": "Next task is set up",
}
"""Request → what a person reads, in the order of the menu; its entry has the number of its place, from 1."""
_STUCK = 25
"""So many steps that bring the tool no nearer end a wish."""
_PACE = 0.98
"""Share of a control period between two steps: where time waits for commands, a person's hand keeps the pace."""


class Event(enum.Enum):
    """What a client says of its marker (visualization_msgs/InteractiveMarkerFeedback)."""

    DOWN = "down"
    MOVED = "moved"
    ALIVE = "alive"
    UP = "up"
    MENU = "menu"


@dataclasses.dataclass(frozen=True)
class Feedback:
    """One message of a marker's client."""

    client: str
    event: Event
    position: np.ndarray
    """(3,) [m] in base_link."""
    entry: int = 0
    """Number of the menu's entry."""


class Link(Protocol):
    """What the session says to the robot's side."""

    def command(self, action: np.ndarray, stamp: int) -> None:
        """Send (3,) float32 for the observation with this stamp; the same stamp again is a sign of life."""

    def let_go(self, reason: str) -> None:
        """Command no more, for now; with a reason the gate goes to HOLD."""

    def request(self, name: str) -> None:
        """Ask for an entry of MENU; `Session.on_answer` tells what came of it."""


class Session:
    """See the module. Its methods are called from one thread.

    Args:
        config: Resolved.
        link: To the robot's side.
        clock: Steady seconds.
    """

    def __init__(self, config: Config, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._teleop, self._link, self._clock = config, config.teleop, link, clock
        self.box = Box(config)
        self.report: GateReport | None = None
        self.tool: np.ndarray | None = None
        """Newest measured position of the tool, (3,) [m] in base_link."""
        self.latest = ""
        """What the person was told last."""
        self._said: collections.deque[str] = collections.deque(maxlen=100)
        self.refused: collections.Counter[str] = collections.Counter()
        """What was refused, by who asked."""
        self._stamp = -1
        self._hand, self._heard = "", 0.0
        self._goal: np.ndarray | None = None
        self._direction: np.ndarray | None = None
        self._sent: tuple[np.ndarray, int] | None = None
        self._sent_at = float("-inf")
        self._nearest, self._vain = float("inf"), 0

    @property
    def hand(self) -> str:
        """Who moves the arm now; "" for nobody."""
        return self._hand

    @property
    def moving(self) -> bool:
        """Whether a step was commanded that nobody has let go of."""
        return self._sent is not None

    def on_report(self, report: GateReport) -> None:
        """The gate's state; a wish does not outlive TELEOP."""
        self.report = report
        if report.state is not GateState.TELEOP:
            self._drop()
            self._hand, self._sent = "", None

    def on_tool(self, position: np.ndarray, stamp: int) -> None:
        """The tool as measured at a stamp [ns]; another robot may begin at an older one."""
        self.tool, self._stamp = position, stamp

    def on_feedback(self, feedback: Feedback) -> None:
        """A marker's client: it drags, lets go, or chose from the menu."""
        who = f"marker client '{feedback.client}'"
        if feedback.event is Event.MENU:
            self._from_menu(feedback.entry, who)
        elif not self._takes(who):
            return
        elif feedback.event is Event.UP:
            self._end()
        elif feedback.event is Event.MOVED:
            self._wish(feedback.position)

    def on_joystick(self, axes: Sequence[float], buttons: Sequence[int], pressed: Sequence[int] = ()) -> None:
        """The joystick's state.

        Args:
            axes: In [-1, 1].
            buttons: 1 where held.
            pressed: Numbers of the buttons that were not held before.
        """
        for number in pressed:
            if number < len(self._teleop.joy_buttons) and self._teleop.joy_buttons[number]:
                self.ask(self._teleop.joy_buttons[number])
        direction, who = joystick_direction(axes, buttons, self._teleop), "the joystick"
        if direction is None:
            if self._hand == who:
                self._end()
        elif self._takes(who):
            self._direction = direction

    def on_clicked(self, position: np.ndarray) -> None:
        """A clicked point, (3,) [m] in base_link: the tool goes there."""
        if self._takes("a clicked point"):
            self._hand = ""
            self._wish(position)

    def on_key(self, key: str) -> None:
        """A key: it moves the tool by `teleop.key_step` from where it was to go, or asks for something."""
        if key in KEY_REQUESTS:
            self.ask(KEY_REQUESTS[key])
        elif key in KEYS and self.tool is not None and self._takes("a key"):
            self._hand = ""
            start = self.tool if self._goal is None else self._goal
            self._wish(start + self._teleop.key_step * np.array(KEYS[key]))

    def ask(self, name: str) -> None:
        """Ask for an entry of MENU. What moves the arm by itself, or stops it, ends the person's wish."""
        if not name.startswith("label"):
            self._end()
        self._link.request(name)

    def leave(self) -> None:
        """The person goes: the arm is held."""
        self._end()

    def on_answer(self, name: str, done: bool, message: str) -> None:
        """What came of a request."""
        self.say(MENU[name] if done else f"{MENU[name]}: refused, {message}")

    def say(self, sentence: str) -> None:
        """Tell the person, each sentence once in a row."""
        if sentence != self.latest:
            self.latest = sentence
            self._said.append(sentence)

    def take_said(self) -> list[str]:
        """Sentences for the person since the last call."""
        said = list(self._said)
        self._said.clear()
        return said

    def _from_menu(self, entry: int, who: str) -> None:
        names = list(MENU)
        if not 1 <= entry <= len(names):
            self.say(f"there is no menu entry {entry}")
        elif names[entry - 1] == "stop" or self._hand in ("", who):
            self.ask(names[entry - 1])
        else:
            self._refuse(who)

    def _takes(self, who: str) -> bool:
        """Whether this hand has the arm, or gets it; hearing it keeps it alive."""
        if self.report is None or self.report.state is not GateState.TELEOP:
            state = self.report.state.value if self.report else "unknown"
            self.say(f"the arm is not yours to move (gate: {state}): {MENU['start_reset']} first")
            return False
        if self._hand not in ("", who):
            self._refuse(who)
            return False
        self._hand, self._heard = who, self._clock()
        return True

    def _refuse(self, who: str) -> None:
        self.refused[who] += 1
        self.say(f"{who} is refused: {self._hand} moves the arm")

    def _wish(self, position: np.ndarray) -> None:
        if not np.isfinite(position).all():
            self.say(f"a position of {position.tolist()} is none")
            return
        self._goal, self._direction = self.box.clamp(position), None
        self._nearest, self._vain = float("inf"), 0

    def _drop(self) -> None:
        self._goal = self._direction = None

    def _end(self, reason: str = "") -> None:
        """The hand leaves the arm."""
        self._drop()
        self._hand = ""
        self._let_go(reason)

    def _let_go(self, reason: str = "") -> None:
        if self._sent is not None or reason:
            self._sent = None
            self._link.let_go(reason)

    def tick(self) -> None:
        """Call every `teleop.beat`: one step for a new observation, a sign of life between steps, silence watched."""
        silence = self._clock() - self._heard if self._hand else 0.0
        if silence > self._teleop.lost_after:
            reason = f"{self._hand} fell silent"
            self.say(f"{reason}; {MENU['start_reset']} goes on")
            self._end(reason)
        elif silence > self._teleop.patience:
            self._let_go()
        elif self._goal is not None or self._direction is not None:
            self._move()
        else:
            self._let_go()

    def _move(self) -> None:
        if self.tool is None:
            return
        goal = self._aim(self.tool)
        if goal is None:
            self._let_go()
        elif self._due():
            action = step_to(goal, self.tool, self._config.robot.step_size, self._teleop.speed)
            self._sent, self._sent_at = (action, self._stamp), self._clock()
            self._link.command(*self._sent)
        elif self._sent is not None:
            self._link.command(*self._sent)

    def _due(self) -> bool:
        newest = self._sent is None or self._stamp != self._sent[1]
        return newest and self._clock() - self._sent_at >= _PACE * self._config.robot.control_period

    def _aim(self, tool: np.ndarray) -> np.ndarray | None:
        """Where the next step leads to; None where there is nothing to do."""
        if self._direction is not None:
            reach = self._direction * self._config.robot.step_size * self._teleop.speed
            return self.box.clamp(tool + reach) if self._direction.any() else None
        assert self._goal is not None
        distance = float(np.linalg.norm(self._goal - tool))
        if self._due():
            self._vain = 0 if distance < self._nearest - 1e-4 else self._vain + 1
            self._nearest = min(self._nearest, distance)
        if distance <= self._teleop.tolerance or self._vain > _STUCK:
            if self._vain > _STUCK:
                self.say(f"the tool comes no nearer than {1000 * distance:.0f} mm: given up")
            if not self._hand:
                self._goal = None
            return None
        return self._goal
