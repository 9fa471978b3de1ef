"""Hears `weights` for policy_node, and hands them over when they are ready to act, between two of its callbacks."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_msgs.msg import UInt8MultiArray

from meld_core.agent import ReadyWeights
from meld_core.trust.weights_gate import WeightsGate
from meld_core.trust.weights_intake import WeightsIntake
from meld_ros import conversions as ros
from meld_ros.diagnostics import Diagnostics

_LOOK = 0.002
"""How often it is looked for weights that are being made ready; never while there are none [s]."""


class WeightsReceiver:
    """The actor's end of `weights`.

    Args:
        node: Whose topic it is.
        gate: Says which may act.
        diagnostics: Gets what was refused.
        deliver: Takes weights that may act.
    """

    def __init__(
        self,
        node: Node,
        gate: WeightsGate,
        diagnostics: Diagnostics,
        deliver: Callable[[ReadyWeights], None],
    ) -> None:
        self._diagnostics, self._deliver = diagnostics, deliver
        self._intake = WeightsIntake(gate.admit)
        self._timer = node.create_timer(_LOOK, self._hand_over, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._timer.cancel()
        ros.subscription(node, ros.WEIGHTS, self._on_weights)

    def _on_weights(self, msg: UInt8MultiArray) -> None:
        self._intake.put(ros.bytes_from_msg(msg))
        self._timer.reset()

    def _hand_over(self) -> None:
        outcomes = self._intake.take()
        if not self._intake.busy:
            self._timer.cancel()
        for outcome in outcomes:
            if isinstance(outcome, ValueError):
                self._diagnostics.refuse("weights", str(outcome))
            else:
                self._deliver(outcome)

    def close(self) -> None:
        """End the thread."""
        self._intake.close()
