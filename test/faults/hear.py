"""Prints every status on /diagnostics as a line of JSON, until it is killed."""

from __future__ import annotations

import json
from typing import Any

import rclpy
from rclpy.node import Node

from meld_ros import conversions as msgs


def show(msg: Any) -> None:
    """One line per status."""
    for status in msg.status:
        values = {pair.key: pair.value for pair in status.values}
        print(json.dumps({"node": status.hardware_id, "message": status.message, **values}), flush=True)


if __name__ == "__main__":
    rclpy.init()
    node = Node("hear")
    msgs.subscription(node, msgs.DIAGNOSTICS, show)
    rclpy.spin(node)
