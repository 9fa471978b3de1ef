"""A robot_node and a stand-in driver as processes, a policy in the test's hand, and what really happened."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState

from meld_core.announce import GateReport
from meld_core.config import Config
from meld_core.robot import GateState
from meld_ros import conversions as msgs
from meld_ros.graph import ROBOT
from test.ros.conftest import Process, Ros
from test.ros.stand_ins import HandPolicy, parameters
from test.stand_ins.xs_msgs.build import obstacle

STAND_INS = Path(__file__).resolve().parents[1] / "stand_ins"
SCRIPTS = {"ros2_control": "trajectory_controller", "widowx": "fake_xs_sdk"}
ARM = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
_AGAIN = 2.0
_LEAST_MOTION = 0.05
"""Actions below this, of 20 mm, move no joint far enough to tell whether it follows."""
URGENT = -15
READY = [0.0, -0.45, 0.45, 0.0, 1.5708, 0.0]
"""Tool above the box [rad]: resets need not come all the way from the sleep pose."""


def urgent(process: Process) -> None:
    """Run what is judged before others, where that is permitted: a busy machine is not the stack."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, process.pid, URGENT)  # threads to come inherit it


def waits(process: Process) -> dict[str, float]:
    """How long each thread of a process was ready to run and did not, since its start [s]."""
    found = {}
    for thread in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            delay = thread.read_text().split()[1]  # Documentation/scheduler/sched-stats.rst: run delay [ns]
            found[thread.parent.name] = int(delay) * 1e-9
    return found


def starved(*processes: Process) -> float:
    """The same in all [s]."""
    return sum(sum(waits(process).values()) for process in processes)


@dataclasses.dataclass(frozen=True)
class Moment:
    """What was so when it was published, by DDS's source timestamp [s]."""

    at: float
    joints: np.ndarray


class Faults:
    """The faults that a stand-in can play."""

    def __init__(self, ros: Ros, node: Node, stand_in: str) -> None:
        self._ros, self._client = ros, node.create_client(SetParameters, f"{stand_in}/set_parameters")

    def inject(self, fault: str) -> float:
        """Set the stand-in's fault. Returns the time just before [s]."""
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=fault)
        self.ready()
        at = time.time()
        request = SetParameters.Request(parameters=[Parameter(name="fault", value=value)])
        answers, asked = [self._client.call_async(request)], time.monotonic()

        def answered() -> bool:
            nonlocal asked
            if time.monotonic() > asked + _AGAIN:  # a stand-in that was killed may have got the request
                answers.append(self._client.call_async(request))
                asked = time.monotonic()
            return any(answer.done() for answer in answers)

        self._ros.until(answered, "the fault")
        assert next(answer for answer in answers if answer.done()).result().results[0].successful
        return at

    def ready(self) -> None:
        """Wait until the stand-in can be told."""
        self._ros.until(self._client.service_is_ready, "the stand-in's parameters")


@pytest.fixture(scope="session")
def xs_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interbotix's message package, built from the contract. Without a compiler what needs it cannot be tested."""
    if reason := obstacle():
        pytest.skip(f"{reason}: interbotix_xs_msgs cannot be built, widowx is not tested")
    folder = tmp_path_factory.mktemp("interbotix_xs_msgs")
    script = STAND_INS / "xs_msgs" / "build.py"
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def xs_messages(xs_built: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Importable here and in the processes that a test starts."""
    monkeypatch.syspath_prepend(str(xs_built))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(xs_built), os.environ.get("PYTHONPATH", "")]))
    return xs_built


class DriverBench(HandPolicy):
    """Commands at the control rate like a policy; keeps the true joints that the stand-in tells beside its contract."""

    def __init__(self, ros: Ros, config: Config, start: list[float] | None = None) -> None:
        kind = config.robot.kind
        self.stand_in: Process = ros.start(str(STAND_INS / f"{SCRIPTS[kind]}.py"), {"start": start or READY})
        urgent(self.stand_in)
        super().__init__(ros, config)
        self.true: list[Moment] = []
        self.told: list[Moment] = []
        self.times: list[tuple[float, GateState]] = []
        for topic, moments in (("stand_in/joints", self.true), (config.driver.joint_states, self.told)):
            self.node.create_subscription(JointState, topic, _keep(moments), qos_profile_sensor_data)
        msgs.subscription(self.node, msgs.GATE_STATE, self._on_timed_gate)
        self.inject = Faults(ros, self.node, SCRIPTS[kind]).inject
        ros.until(lambda: self.told, "the stand-in's joint states")
        self.robot: Process = ros.start("meld_ros.robot_node", parameters(config, *ROBOT.sections), "robot")
        urgent(self.robot)

    def _on_timed_gate(self, msg: Any, info: dict[str, Any]) -> None:
        self.times.append((info["source_timestamp"] * 1e-9, GateReport.from_json(msg.data).state))

    def move(self, action: list[float], until: Any, what: str) -> float:
        """Answer each step with this action until a condition holds."""
        answered = -1

        def there() -> bool:
            nonlocal answered
            if self.stamps and self.newest() > answered:
                answered = self.newest()
                self.command(action, answered)
            return bool(until())

        return self.ros.until(there, what)

    def wiggle(self, axis: int, until: Any, what: str) -> None:
        """Move to and fro along an axis: commands every step, never far."""
        answered, sign = -1, 1.0

        def there() -> bool:
            nonlocal answered, sign
            if self.stamps and self.newest() > answered:
                answered = self.newest()
                y = self.tool[axis] if self.tool is not None else 0.0
                sign = -1.0 if y > self.center[axis] + 0.02 else 1.0 if y < self.center[axis] - 0.02 else sign
                action = [0.0, 0.0, 0.0]
                action[axis] = sign
                self.command(action, answered)
            return bool(until())

        msgs.subscription(self.node, msgs.TOOL_POSE, self._on_tool)
        self.tool: np.ndarray | None = None
        self.center = np.add(self.config.task.box_center, [0, 0, 0.012])
        self.ros.until(there, what)

    def _on_tool(self, msg: Any) -> None:
        self.tool = msgs.pose_from_msg(msg)[0]

    def starved(self) -> float:
        """How long the machine kept robot and stand-in waiting, since their start [s]."""
        return starved(self.robot, self.stand_in)

    def first_moved(self, since: float) -> float:
        """When the first command that moves was given after a time [s].

        At the edge of the box the gate leaves a thousandth of a step, which asks a joint for less than it can resolve.
        """
        moving = (stamp * 1e-9 for stamp, action in self.executed if np.abs(action).max() > _LEAST_MOTION)
        return min(at for at in moving if at > since)

    def stopped(self) -> bool:
        """Whether the gate is STOPPED."""
        return bool(self.reports and self.reports[-1].state is GateState.STOPPED)

    def stopped_at(self) -> float:
        """When STOPPED was first reported [s]."""
        self.ros.until(lambda: any(state is GateState.STOPPED for _, state in self.times), "the timed report")
        return next(at for at, state in self.times if state is GateState.STOPPED)

    def top_speed(self, since: float) -> float:
        """Largest speed of a joint since a time, over a tenth of a second each [rad/s]."""
        moments, fastest = [moment for moment in self.true if moment.at >= since], 0.0
        for early in moments:
            later = next((moment for moment in moments if moment.at >= early.at + 0.1), None)
            if later is not None:
                fastest = max(fastest, float(np.abs(later.joints - early.joints).max() / (later.at - early.at)))
        return fastest

    def true_after(self, at: float) -> np.ndarray:
        """True joints since a time, (N, 6)."""
        return np.array([moment.joints for moment in self.true if moment.at >= at])


def _keep(moments: list[Moment]) -> Any:
    def on_message(msg: JointState, info: dict[str, Any]) -> None:
        names = list(msg.name)
        joints = np.array([msg.position[names.index(name)] for name in ARM])
        moments.append(Moment(info["source_timestamp"] * 1e-9, joints))

    return on_message
