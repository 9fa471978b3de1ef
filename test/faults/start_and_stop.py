"""Starts and stops robot_node's node in one process, again and again, on a driver in another one: for fault 28.

Every second time the arm is on the way of a reset when it is stopped. Prints threads, open files and memory [MB] after
each round. MELD_TEST_WITHOUT names guards to switch off (unguarded.py).
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import rclpy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from meld_core.announce import EpisodeKey
from meld_core.robot import GateState
from meld_ros.node_main import Background
from meld_ros.robot_node import RobotNode
from test.faults.unguarded import switch_off

_LOOK = 0.02


def one_round(number: int, overrides: list[rclpy.parameter.Parameter], announcement: str) -> None:
    """Start, begin a reset in every second round, stop."""
    rclpy.init()
    node = RobotNode(parameter_overrides=overrides)
    background = Background(node, "serve")
    background.start()
    if number % 2:
        node._on_task(String(data=announcement))
        for _ in range(1000):
            if node._host.report.state in (GateState.RESET, GateState.POLICY):
                break
            if node._host.report.state is GateState.STOPPED:  # the machine is busy
                node._clear_stop()
            node._on_reset(Trigger.Request(), Trigger.Response())
            threading.Event().wait(_LOOK)
        else:
            raise RuntimeError(f"no reset: {node._host.report}")
        node._gate.hold("the round is over")  # the way is broken off: the thread that does the reset comes back
    background.close()
    node.close()
    node.close()  # safe to call twice
    node.destroy_node()
    rclpy.try_shutdown()


def main(config_path: str, rounds: int) -> None:
    """All rounds."""
    without = os.environ.get("MELD_TEST_WITHOUT", "")
    switch_off(without)
    given = json.loads(Path(config_path).read_text())
    overrides = [rclpy.parameter.Parameter(name, value=value) for name, value in given["parameters"].items()]
    for number in range(rounds):
        key = EpisodeKey("run", f"round{number}", 0, 0)
        announcement = json.dumps(given["task"] | {"boot": key.boot})
        one_round(number, overrides, announcement)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        found = {
            "threads": len(os.listdir("/proc/self/task")),
            "files": len(os.listdir("/proc/self/fd")),
            "memory": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        }
        print(json.dumps(found), flush=True)
    if without:
        os._exit(0)  # what was left behind on purpose may abort a regular end: that of C++ threads nobody joined


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
