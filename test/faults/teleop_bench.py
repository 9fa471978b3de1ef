"""A robot_node, a teleop_node and a person at RViz as processes, and what everybody said and did."""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from visualization_msgs.msg import InteractiveMarkerFeedback

from meld_core.config import Config
from meld_core.kinematics import ArmKinematics
from meld_core.robot import GateState
from meld_ros import conversions as msgs
from meld_ros.graph import ROBOT
from meld_ros.marker_server import NAMESPACE
from meld_ros.share import resolve_config
from test.faults.driver_bench import STAND_INS, URGENT, DriverBench, Moment, starved
from test.faults.test_driver_faults import PATIENT
from test.ros.conftest import ROOT, Process, Ros
from test.ros.stand_ins import parameters

UNGUARDED_HAND = str(ROOT / "test" / "faults" / "unguarded_hand.py")
UNGUARDED = str(ROOT / "test" / "faults" / "unguarded.py")
HOLD_WITHIN = 0.2
"""From the last sign of life of whoever died to the end of all commands [s]."""


def config(*overrides: str) -> Config:
    """As shipped, but a busy machine may delay states by more than an arm's driver would."""
    shipped = resolve_config()
    assert shipped.gate.teleop_patience + 0.02 <= HOLD_WITHIN
    assert shipped.teleop.patience + shipped.teleop.beat <= HOLD_WITHIN
    return resolve_config("ros2_control", config="smoke", overrides=[*PATIENT, "robot.reset=teleop", *overrides])


@dataclasses.dataclass(frozen=True)
class Said:
    """A message and when it was published [s]."""

    at: float
    msg: Any


class TeleopBench(DriverBench):
    """The bench with a teleop_node, in state TELEOP; what everybody said and how the tool really moved."""

    def __init__(self, ros: Ros, config: Config, without: str = "") -> None:
        super().__init__(ros, config)
        if without in ("box", "sender"):
            self.robot.kill()
            self.robot.wait()
            os.environ["MELD_TEST_WITHOUT"] = without
            self.robot = ros.start(UNGUARDED, parameters(config, *ROBOT.sections), "unguarded_robot")
        hand = UNGUARDED_HAND if without == "hand" else "meld_ros.teleop_node"
        self.hand = ros.start(hand, parameters(config), "teleop")
        for process in (self.robot, self.hand, self.stand_in):
            urgent(process)
        self.commands: list[Said] = []
        self.left: list[Said] = []
        self.feedback: list[Said] = []
        for topic, said in ((msgs.TELEOP_ACTION, self.commands), (msgs.TELEOP_LET_GO, self.left)):
            msgs.subscription(self.node, topic, _keep(said))
        self.node.create_subscription(InteractiveMarkerFeedback, f"{NAMESPACE}/feedback", _keep(self.feedback), 100)
        self._kinematics = ArmKinematics()
        self._start = self.node.create_client(msgs.SERVICE, msgs.START_RESET)
        self.rogue = msgs.publisher(self.node, msgs.TELEOP_ACTION)
        ros.until(self._start.service_is_ready, "robot_node's services")
        self.take()

    def take(self) -> None:
        """A person takes the arm."""
        self._start.call_async(msgs.SERVICE.Request())
        self.sees("TELEOP")

    def person(self, *plan: dict[str, Any], client: str = "/rviz") -> Process:
        """Somebody at RViz who does this."""
        rviz = str(STAND_INS / "rviz_client.py")
        process = self.ros.start(rviz, {"plan": json.dumps(plan), "client": client}, f"rviz{client.strip('/')}")
        urgent(process)
        return process

    def under_way(self, steps: int = 4) -> None:
        """Until that many steps were executed."""
        done = len(self.moved())
        self.until(lambda: len(self.moved()) >= done + steps, "motion")

    def until(self, condition: Any, what: str) -> None:
        """Wait; a person takes the arm again that a busy machine made HOLD."""

        def there() -> bool:
            if self.reports[-1].state is GateState.HOLD:
                self.take()
            return bool(condition())

        self.ros.until(there, what)

    def moved(self) -> list[float]:
        """When steps were executed, by the stamps of their observations [s]."""
        return [stamp * 1e-9 for stamp, action in self.executed if action.any()]

    def last_new_command(self) -> float:
        """When the newest command was given that was no repetition [s]."""
        stamps: dict[int, float] = {}
        for said in self.commands:
            stamps.setdefault(msgs.stamp_of(said.msg.header), said.at)
        return max(stamps.values())

    def moving(self) -> bool:
        """Whether the newest command is of the last moments."""
        newest, left = self.commands[-1].at, self.left[-1].at if self.left else 0.0
        return left < newest and self.true[-1].at - newest < 0.06 and self.reports[-1].state is GateState.TELEOP

    def tool_at(self, moment: Moment) -> np.ndarray:
        """True position of the tool, (3,) [m]."""
        return self._kinematics.forward(moment.joints)[0]

    def stall(self, without: Process) -> float:
        """How long the machine kept the processes waiting, since their start, but for one that is killed [s]."""
        return starved(*(process for process in (self.robot, self.hand, self.stand_in) if process is not without))


def urgent(process: Process) -> None:
    """Ahead of whatever else this machine does, as on a robot's computer."""
    with suppress(PermissionError):
        for thread in Path(f"/proc/{process.pid}/task").glob("*"):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), URGENT)


def _keep(said: list[Said]) -> Any:
    return lambda msg, info: said.append(Said(info["source_timestamp"] * 1e-9, msg))
