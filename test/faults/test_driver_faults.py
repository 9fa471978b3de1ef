"""Faults 22, 23, 24 of an arm's driver, in processes of their own over DDS: states lost, nonsense, dead motor.

Times are those of DDS's source timestamps, from the last healthy state (24: the first command after the motor died)
to the report of STOPPED, and printed. Limits are stretched by the time for which the kernel let threads of the two
processes wait that were ready to run: a busy machine, not the stack.
"""

from __future__ import annotations

import numpy as np
import pytest

from meld_core.config import Config
from meld_ros import conversions as msgs
from meld_ros.share import resolve_config
from test.faults.driver_bench import ARM, DriverBench
from test.ros.conftest import Ros

DECISION = 0.1
"""From a fault that can be known to the report of STOPPED [s]; with `driver.stale_after` as shipped 200 ms in all."""


PATIENT = (
    "driver.stale_after=1.0",
    "driver.connect_timeout=60.0",
    "driver.reset_speed=1.5",
    "gate.policy_lease=5.0",
    "gate.max_age=5.0",
)
"""A busy machine delays every message; what is tested here is not its speed."""


@pytest.fixture(params=["ros2_control", "widowx"])
def config(request: pytest.FixtureRequest) -> Config:
    """As shipped, but a busy machine may delay states by more than `driver.stale_after` allows an arm's driver."""
    if request.param == "widowx":
        request.getfixturevalue("xs_messages")
    shipped = resolve_config(request.param)
    assert shipped.driver.stale_after + DECISION <= 0.2
    return resolve_config(request.param, config="smoke", overrides=PATIENT)


def tell(fault: int, config: Config, took: float, stall: float) -> None:
    """Print what was measured."""
    waited = f"{1000 * stall:.0f} ms of waiting for the processor"
    print(f"fault {fault}, {config.robot.kind}: STOPPED after {1000 * took:.0f} ms, {waited}")


def moving(ros: Ros, config: Config, axis: int) -> DriverBench:
    """A bench whose arm is under way along an axis."""
    bench = DriverBench(ros, config)
    bench.begin()
    bench.wiggle(axis, lambda: len(bench.executed) >= 4 or bench.stopped(), "motion")
    assert not bench.stopped(), bench.reports[-1].reason
    return bench


def stays(bench: DriverBench, since: float) -> None:
    """Latched: the arm rests, commands and resets are refused."""
    count, seen = len(bench.executed), len(bench.true)
    bench.move([1.0, 0.0, 0.0], lambda: len(bench.true) > seen + 100, "a second of the stopped arm")
    assert bench.stopped()
    assert not any(action.any() for _, action in bench.executed[count:]), "a stopped arm obeyed"
    rest = np.array([moment.joints for moment in bench.true[seen + 30 :]])
    assert np.ptp(rest, axis=0).max() < 0.01
    client = bench.node.create_client(msgs.SERVICE, msgs.RESET)
    bench.ros.until(client.service_is_ready, "the reset service")
    answer = client.call_async(msgs.SERVICE.Request())
    bench.ros.until(answer.done, "its answer")
    assert not answer.result().success
    assert bench.top_speed(since) <= np.pi, "a joint exceeded its largest speed"


def test_22_lost_joint_states_stop_the_arm_within_200_ms(ros: Ros, config: Config) -> None:
    bench = moving(ros, config, axis=1)
    waited = bench.starved()
    began = bench.inject("silence")
    bench.wiggle(1, bench.stopped, "STOPPED")
    lost = bench.told[-1].at
    took, stall = bench.stopped_at() - lost, bench.starved() - waited
    tell(22, config, took, stall)
    assert "joint states are lost" in bench.reports[-1].reason
    assert took <= config.driver.stale_after + DECISION + stall
    stays(bench, began)


@pytest.mark.parametrize("value", [-3.1416, 0.0])
def test_23_joint_states_that_jump_to_one_value_stop_the_arm(ros: Ros, config: Config, value: float) -> None:
    bench = moving(ros, config, axis=1)
    waited = bench.starved()
    began = bench.inject(f"jump:{value}")
    bench.wiggle(1, bench.stopped, "STOPPED")
    ros.until(lambda: any(np.ptp(m.joints) == 0 for m in bench.told), "the nonsense itself")
    nonsense = next(m.at for m in bench.told if np.ptp(m.joints) == 0)
    took, stall = bench.stopped_at() - nonsense, bench.starved() - waited
    tell(23, config, took, stall)
    assert "jumped by" in bench.reports[-1].reason or "believed" in bench.reports[-1].reason
    assert took <= 0.2 + stall
    stays(bench, began)
    assert np.abs(bench.true_after(began) - bench.true_after(began)[0]).max() < 0.25, "the arm went for the nonsense"


@pytest.mark.parametrize(("joint", "axis"), [("waist", 1), ("elbow", 0), ("wrist_angle", 2)])
def test_24_a_dead_motor_stops_the_arm_and_is_named(ros: Ros, config: Config, joint: str, axis: int) -> None:
    bench = moving(ros, config, axis)
    waited = bench.starved()
    began = bench.inject(f"dead:{joint}")
    bench.wiggle(axis, bench.stopped, "STOPPED")
    took, stall = bench.stopped_at() - bench.first_moved(began), bench.starved() - waited
    tell(24, config, took, stall)
    assert f"joint '{joint}' does not follow" in bench.reports[-1].reason
    assert took <= 0.5 + stall
    others = [i for i, name in enumerate(ARM) if name != joint]
    stays(bench, began)
    assert np.abs(bench.true_after(began)[:, others] - bench.true_after(began)[0, others]).max() < 0.25


@pytest.mark.parametrize(
    ("fault", "guard"), [("silence", "driver.stale_after=2.0"), ("dead:elbow", "driver.follow_window=5.0")]
)
def test_without_its_guard_the_arm_is_not_stopped_in_time(ros: Ros, fault: str, guard: str) -> None:
    """What stops the arm in the tests above is the guard that they name."""
    config = resolve_config("ros2_control", config="smoke", overrides=[*PATIENT, guard])
    bench = moving(ros, config, axis=0)
    began = bench.inject(fault)
    bench.wiggle(0, lambda: bench.stopped() or bench.true[-1].at > began + 1.2, "1.2 s of it")
    assert not bench.stopped(), bench.reports[-1].reason
