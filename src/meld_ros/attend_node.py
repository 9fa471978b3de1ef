"""attend: shows what a run waits for at the bench, and tells it once a person has done that."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.node import Node
from std_msgs.msg import String

from meld_core.announce import GateReport
from meld_ros import conversions as ros
from meld_ros.keys import pressed_keys
from meld_ros.node_main import Background

_CONFIRM = ("\n", "\r", " ")
_LOOK = 0.1
_PATIENCE = 10.0
"""For the answer of robot_node [s]."""


class AttendError(RuntimeError):
    """A confirmation that did not arrive; the text is one clear sentence."""


class AttendNode(Node):
    """Knows what the bench waits for.

    Subscribes: `gate_state`. Calls: `next_task`, once a person has confirmed.
    """

    def __init__(self, say: Callable[[str], None], **kwargs: Any) -> None:
        super().__init__("attend", **kwargs)
        self._say, self._waits_for = say, ""
        self._changed = threading.Event()
        self._next_task: Any = self.create_client(ros.SERVICE, ros.NEXT_TASK)
        self.confirmed = 0
        """Changes that were told to the run, and that it took."""
        self.answered = threading.Event()
        """The run took the newest confirmation, or refused it."""
        ros.subscription(self, ros.GATE_STATE, self._on_gate)

    def _on_gate(self, msg: String) -> None:
        waits_for = GateReport.from_json(msg.data).waits_for
        if waits_for and waits_for != self._waits_for:
            self._say(f"waiting for {waits_for}; Enter when that is done")
        self._waits_for = waits_for
        if self.asks:
            self._changed.set()
        else:
            self._changed.clear()

    @property
    def asks(self) -> bool:
        """Whether a change of the bench is waited for."""
        return ros.NEXT_TASK in self._waits_for

    def wait(self, timeout: float) -> bool:
        """Wait for a change to be asked for; whether one is."""
        return self._changed.wait(timeout)

    def confirm(self) -> None:
        """The bench is as it was asked for."""
        if not self.asks:
            self._say("nothing is waited for")
            return
        self.answered.clear()
        if not self._next_task.wait_for_service(_PATIENCE):  # a call that nobody hears yet is lost
            self._say(f"robot_node cannot be reached for {_PATIENCE:g} s; does the run still go on? meld doctor")
            return
        answer = self._next_task.call_async(ros.SERVICE.Request())
        answer.add_done_callback(self._on_answer)

    def _on_answer(self, answer: Any) -> None:
        result = answer.result()
        self.confirmed += int(result.success)
        self._say("told" if result.success else f"refused: {result.message}")
        self.answered.set()


def attend(namespace: str, *, once: bool) -> None:
    """Stand by until q is pressed; or confirm the first change at once and end.

    Raises:
        AttendError: with `once`, where the run refuses, or nobody answers.
    """
    rclpy.init()
    node = AttendNode(lambda text: print(text, file=sys.stderr, flush=True), namespace=namespace)
    background = Background(node, "attend")
    background.start()
    try:
        if once:
            while not node.wait(_LOOK):
                pass
            node.confirm()
            if not node.answered.wait(_PATIENCE):
                raise AttendError(
                    f"robot_node did not answer within {_PATIENCE:g} s; does the run still go on? meld doctor"
                )
            if not node.confirmed:
                raise AttendError("the run refused the confirmation; the reason stands above")
        else:
            for key in pressed_keys():
                if key in _CONFIRM:
                    node.confirm()
    finally:
        background.close()
        node.destroy_node()
        rclpy.try_shutdown()
