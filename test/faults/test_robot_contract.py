"""The Robot contract, the same for the simulation in realtime and for arms behind drivers in other processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from meld_core.arm.arm_driver import ArmError
from meld_core.arm.joint_states import StaleStateError
from meld_core.config import Config
from meld_core.host import BenchRobot
from meld_core.sim.arm import JOINT_NAMES
from meld_core.task_families import make_tasks
from meld_ros.robots import make_robot
from meld_ros.share import resolve_config
from test.faults.driver_bench import READY, SCRIPTS, STAND_INS, Faults
from test.ros.conftest import Ros

DRIVERS = ("ros2_control", "widowx")
PATIENT = ("driver.stale_after=2.0", "driver.connect_timeout=60.0", "driver.reset_speed=1.5", "driver.park_speed=1.5")
SLEEP = np.array([0.0, -1.80, 1.55, 0.0, 0.80, 0.0])


class Contract:
    """A robot and, where it has one, its stand-in."""

    def __init__(self, ros: Ros, kind: str, **stand_in: Any) -> None:
        self.kind, self.ros = kind, ros
        self.config: Config = resolve_config(
            kind, config="smoke", overrides=[*PATIENT, "robot.mode=realtime", *stand_in.pop("overrides", ())]
        )
        self.node = ros.probe()
        self.true: list[np.ndarray] = []
        self.wrongs: list[str] = []
        self.faults = Faults(ros, self.node, SCRIPTS[kind]) if kind in SCRIPTS else None
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(JointState, "stand_in/joints", self._on_true, qos_profile_sensor_data)
        self.node.create_subscription(String, "stand_in/wrongs", lambda msg: self.wrongs.append(msg.data), latched)
        if kind in SCRIPTS:
            self.process = ros.start(str(STAND_INS / f"{SCRIPTS[kind]}.py"), {"start": READY, **stand_in})
            ros.until(lambda: self.true, "the stand-in")
        self.robot: BenchRobot = make_robot(self.config, self.node)

    def _on_true(self, msg: JointState) -> None:
        names = list(msg.name)
        self.true.append(np.array([msg.position[names.index(name)] for name in JOINT_NAMES]))
        if "left_finger" in names:
            self.finger = msg.position[names.index("left_finger")]

    def ready(self) -> BenchRobot:
        self.robot.connect()
        self.robot.set_task(make_tasks(self.config.task).sample("train", 0))
        self.robot.reset()
        return self.robot

    def settle(self) -> np.ndarray:
        """Wait until the tool rests; where."""
        places: list[np.ndarray] = []

        def rests() -> bool:
            places.append(self.robot.observe().tool_position)
            return len(places) > 30 and float(np.ptp(np.array(places[-20:]), axis=0).max()) < 2e-4

        self.ros.until(rests, "rest")
        return places[-1]


@pytest.fixture(params=["mujoco", *DRIVERS])
def contract(request: pytest.FixtureRequest, ros: Ros) -> Iterator[Contract]:
    if request.param == "widowx":
        request.getfixturevalue("xs_messages")
    made = Contract(ros, request.param)
    yield made
    made.robot.close(park=False)


@pytest.fixture
def widowx(ros: Ros, xs_messages: Path) -> Iterator[Any]:
    made: list[Contract] = []

    def make(**stand_in: Any) -> Contract:
        made.append(Contract(ros, "widowx", **stand_in))
        return made[-1]

    yield make
    for contract in made:
        contract.robot.close(park=False)


def test_a_robot_keeps_its_contract(contract: Contract) -> None:
    assert contract.robot.limits.joint_names == JOINT_NAMES  # before connecting
    robot = contract.ready()
    limits = robot.limits
    start = contract.settle()
    assert (start > limits.workspace_lower).all()
    assert (start < limits.workspace_upper).all()
    assert start[2] == pytest.approx(limits.workspace_upper[2] - 0.012, abs=0.013)
    down = robot.observe().tool_orientation
    assert np.abs(np.abs(down) - [0, np.sqrt(0.5), 0, np.sqrt(0.5)]).max() < 0.03

    assert robot.apply(np.array([0.0, 0.5, -0.25], np.float32)).tolist() == [0.0, 0.5, -0.25]
    contract.ros.until(lambda: np.linalg.norm(robot.observe().tool_position - start) > 0.005, "motion")
    moved = contract.settle() - start
    assert moved == pytest.approx([0.0, 0.010, -0.005], abs=2.5e-3)

    for _ in range(14):
        clamped = robot.apply(np.array([0.0, 5.0, 0.0], np.float32))
        assert np.abs(clamped).max() <= 1.0
        contract.settle()
    assert robot.observe().tool_position[1] == pytest.approx(limits.workspace_upper[1], abs=3e-3)

    robot.apply(np.array([0.0, -1.0, 0.0], np.float32))
    robot.hold()
    held = contract.settle()
    robot.hold()
    assert np.abs(contract.settle() - held).max() < 2e-3

    robot.close()
    robot.close()
    if contract.kind in DRIVERS:
        contract.ros.until(lambda: np.abs(contract.true[-1] - SLEEP).max() < 0.06, "the rest pose")
    assert contract.wrongs == []


@pytest.mark.parametrize("kind", DRIVERS)
def test_lost_states_raise_and_an_arm_that_is_not_seen_is_not_parked(
    request: pytest.FixtureRequest, ros: Ros, kind: str
) -> None:
    if kind == "widowx":
        request.getfixturevalue("xs_messages")
    contract = Contract(ros, kind)
    robot = contract.ready()
    assert contract.faults is not None
    contract.faults.inject("silence")

    def lost() -> bool:
        try:
            robot.observe()
        except StaleStateError:
            return True
        return False

    ros.until(lost, "staleness")
    with pytest.raises(StaleStateError, match="joint states are lost"):
        robot.apply(np.zeros(3, np.float32))
    before = contract.true[-1]
    robot.close()
    count = len(contract.true)
    ros.until(lambda: len(contract.true) > count + 50, "half a second")
    assert np.abs(contract.true[-1] - before).max() < 0.02


def test_widowx_parks_before_torque_is_switched_off_on_request(widowx: Any) -> None:
    contract = widowx(overrides=["driver.torque_off=true"])
    robot = contract.ready()
    robot.close()
    contract.ros.until(lambda: np.abs(contract.true[-1] - SLEEP).max() < 0.06, "the sleep pose")
    assert contract.wrongs == []


def test_widowx_gripper_stops_at_its_limits(widowx: Any) -> None:
    contract = widowx()
    contract.robot.connect()
    for service, place in (("release", 0.037), ("grasp", 0.015)):
        client = contract.node.create_client(Trigger, service)
        contract.ros.until(client.service_is_ready, service)
        answer = client.call_async(Trigger.Request())
        contract.ros.until(answer.done, service)
        assert answer.result().success
        contract.ros.until(lambda place=place: abs(contract.finger - place) < 0.005, f"fingers at {place} m")
    assert contract.wrongs == []


def test_widowx_is_not_driven_in_another_mode(widowx: Any) -> None:
    contract = widowx(mode="velocity")
    with pytest.raises(ArmError, match="xs_sdk runs the arm in mode 'velocity' with profile 'time', expected position"):
        contract.robot.connect()
