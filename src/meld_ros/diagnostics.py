"""Heartbeat, rates and refusals of a node on /diagnostics, once a second of steady time."""

from __future__ import annotations

import collections
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from meld_ros.conversions import DIAGNOSTICS, publisher, set_stamp

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_PERIOD = 1.0


class Diagnostics:
    """One status of a node.

    The header carries the newest data stamp that the node was told (`stamp`): nobody reads a clock in lockstep.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = publisher(node, DIAGNOSTICS)
        self._level, self._message = OK, "running"
        self._passing: str = ""
        self._counts: collections.Counter[str] = collections.Counter()
        self._previous: collections.Counter[str] = collections.Counter()
        self._since = time.monotonic()
        self.values: dict[str, Any] = {}
        """Shown as they are."""
        self.refused: collections.Counter[str] = collections.Counter()
        """Refusals by kind."""
        self.stamp = 0
        self._timer = node.create_timer(_PERIOD, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def beat(self, what: str) -> None:
        """Count one event; its rate is shown."""
        self._counts[what] += 1

    def state(self, level: bytes, message: str) -> None:
        """The lasting state of the node, until the next call; a change is logged and published at once."""
        if (level, message) == (self._level, self._message):
            return
        recovered = level == OK != self._level
        self._level, self._message = level, message
        log = self._node.get_logger()
        if recovered:  # rclpy wants one severity per line of code
            log.info(message)
        elif level == OK:
            log.debug(message)
        elif level == WARN:
            log.warning(message)
        else:
            log.error(message)
        self._publish()

    def refuse(self, kind: str, reason: str) -> None:
        """Something was refused: counted, and the sentence is shown with the next status and logged."""
        if self.refused[kind] == 0 or not self._passing:
            self._node.get_logger().warning(f"refused: {reason}", throttle_duration_sec=_PERIOD)
        self.refused[kind] += 1
        self._passing = f"refused: {reason}"

    def _rates(self) -> dict[str, str]:
        now = time.monotonic()
        span, self._since = now - self._since, now
        new = self._counts - self._previous
        self._previous = self._counts.copy()
        return {f"{name} [Hz]": f"{new[name] / max(span, 1e-6):.1f}" for name in self._counts}

    def _publish(self) -> None:
        values = self._rates() | {f"{name} total": str(count) for name, count in self._counts.items()}
        values |= {f"refused {kind}": str(count) for kind, count in self.refused.items()}
        values |= {name: str(value) for name, value in self.values.items()}
        status = DiagnosticStatus(
            level=max(self._level, WARN) if self._passing else self._level,
            name=self._node.get_fully_qualified_name(),
            message=self._passing if self._passing and self._level != ERROR else self._message,
            hardware_id=self._node.get_name(),
            values=[KeyValue(key=name, value=value) for name, value in values.items()],
        )
        self._passing = ""
        message = DiagnosticArray(status=[status])
        set_stamp(message.header, self.stamp)
        self._publisher.publish(message)
