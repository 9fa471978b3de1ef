"""What stops the arm whatever robot_node is doing: services and the stop button, in a thread of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_msgs.msg import Bool

from meld_core.gate_checks import StopButton
from meld_ros import conversions as ros
from meld_ros.node_main import Background

_LOOK = 0.02
"""How often the silence of a stop button is looked at [s]."""


class StopServer:
    """Services `stop` and `clear_stop` and topic `stop_button`, with an executor of their own.

    Args:
        node: robot_node.
        stop: Stops the arm, for a reason in one sentence.
        clear: Leaves STOPPED; only the service does that, never the button.
        button_timeout: Setting `gate.button_timeout` [s].
    """

    def __init__(
        self, node: Node, stop: Callable[[str], None], clear: Callable[[], None], button_timeout: float
    ) -> None:
        self._stop, self._clear, self._button = stop, clear, StopButton(button_timeout)
        self._node = Node(
            f"{node.get_name()}_stop",
            context=node.context,
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._node.create_service(ros.SERVICE, ros.STOP, self._on_stop)
        self._node.create_service(ros.SERVICE, ros.CLEAR_STOP, self._on_clear)
        ros.subscription(self._node, ros.STOP_BUTTON, self._on_button)
        if button_timeout > 0:
            self._node.create_timer(_LOOK, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._background = Background(self._node, "stop")
        self._background.start()

    def _on_stop(self, _: Any, response: Any) -> Any:
        self._stop("the stop service was called")
        response.success = True
        return response

    def _on_clear(self, _: Any, response: Any) -> Any:
        response.message = self._button.problem()
        response.success = not response.message
        if response.success:
            self._clear()
        return response

    def _on_button(self, msg: Bool) -> None:
        self._button.heard(msg.data)
        self._on_timer()

    def _on_timer(self) -> None:
        problem = self._button.problem()
        if problem:
            self._stop(problem)

    def close(self) -> None:
        """End the thread."""
        self._background.close()
        self._node.destroy_node()
