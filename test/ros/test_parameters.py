"""Parameters are as strict as config files; a person's mistake is one sentence and exit code 2."""

from __future__ import annotations

import dataclasses
import signal

import pytest
from rcl_interfaces.srv import DescribeParameters
from rclpy.node import Node

from meld_core.config import Config, ConfigError, GateConfig, flatten, to_mapping
from meld_ros.node_main import describe, read_config, refuse_unknown
from meld_ros.reward_node import RewardNode

from .conftest import Ros


def test_given_settings_are_read_and_all_are_declared(ros: Ros) -> None:
    node = ros.node(Node, "n", **{"gate.expiry_periods": 2, "task.box_center": [0.1, 0.2, 0.3], "task.ports": 4})
    config = read_config(node, ("gate", "task"))
    refuse_unknown(node)
    assert config.gate == GateConfig(expiry_periods=2.0)
    assert (config.task.ports, config.task.box_center) == (4, (0.1, 0.2, 0.3))
    assert config.sim == Config().sim
    declared = node.get_parameters_by_prefix("gate")
    assert {name: parameter.value for name, parameter in declared.items()} == dataclasses.asdict(config.gate)
    assert list(node.get_parameter("task.box_center").value) == [0.1, 0.2, 0.3]


def test_every_setting_of_the_config_can_be_a_parameter(ros: Ros) -> None:
    sections = [field.name for field in dataclasses.fields(Config)]
    node = ros.node(Node, "n", **flatten(to_mapping(Config())))
    assert read_config(node, sections) == Config()
    refuse_unknown(node)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("gate.expiry_period", 2.0, "unknown setting 'gate.expiry_period'; did you mean 'expiry_periods'"),
        ("gate.expiry_periods", 99.0, r"expiry_periods is 99.0, must lie in \[1.0, 5.0\]"),
        ("gate.expiry_periods", "long", "'gate.expiry_periods' is 'long'"),
        ("gates.expiry_periods", 2.0, "no parameter 'gates.expiry_periods'; did you mean 'gate.expiry_periods'"),
        ("sim.timestep", 0.002, "node 'n' has no parameter 'sim.timestep'"),
        ("expiry", 2.0, "node 'n' has no parameter 'expiry'"),
    ],
)
def test_a_wrong_parameter_is_an_error(ros: Ros, name: str, value: object, sentence: str) -> None:
    node = ros.node(Node, "n", **{name: value})
    with pytest.raises(ConfigError, match=sentence):
        _read_gate(node)


def _read_gate(node: Node) -> None:
    read_config(node, ("gate",))
    refuse_unknown(node)


def test_descriptions_have_unit_and_range() -> None:
    fields = {field.name: field for field in dataclasses.fields(GateConfig)}
    age = describe(fields["max_age"])
    assert age.description == "Oldest accepted stamp in realtime. [s]"
    assert age.read_only
    assert [(r.from_value, r.to_value) for r in age.floating_point_range] == [(0.02, 5.0)]
    assert [(r.from_value, r.to_value) for r in describe(fields["step_retries"]).integer_range] == [(0, 100)]
    assert describe(fields["max_joint_jump"]).floating_point_range[0].to_value == float("inf")


def test_a_running_node_describes_its_parameters(ros: Ros) -> None:
    ros.node(RewardNode)
    client = ros.probe().create_client(DescribeParameters, "/reward/describe_parameters")
    ros.until(client.service_is_ready, "the parameter service")
    future = client.call_async(DescribeParameters.Request(names=["reward.min_pixels"]))
    ros.until(future.done, "its answer")
    assert future.result().descriptors[0].description == "Lit pixels in the region that mean success. [px]"


@pytest.mark.parametrize(
    ("module", "parameters", "sentence"),
    [
        ("meld_ros.reward_node", {"reward.kid": "led"}, "unknown setting 'reward.kid'; did you mean 'kind'?"),
        ("meld_ros.reward_node", {"reward.kind": "ledd"}, "did you mean 'led'?"),
        ("meld_ros.camera_node", {"camera.device": "nowhere.mp4"}, "there is no camera or video file nowhere.mp4"),
        ("meld_ros.camera_node", {"camera.device": "77"}, "camera 77 cannot be opened"),
        ("meld_ros.robot_node", {"robot.kind": "mujocco"}, "unknown robot 'mujocco'; did you mean 'mujoco'?"),
        ("meld_ros.policy_node", {}, "policy_node needs the parameter run_folder"),
        ("meld_ros.trainer_node", {"run_folders": "x"}, "has no parameter 'run_folders'; did you mean 'run_folder'?"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    ros: Ros, module: str, parameters: dict[str, object], sentence: str
) -> None:
    process = ros.start(module, parameters)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert sentence in output
    assert "Traceback" not in output
    assert len([line for line in output.splitlines() if line.startswith("[ERROR] ")]) == 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_told_to_stop_ends_with_code_0(ros: Ros, signum: signal.Signals) -> None:
    process = ros.start("meld_ros.reward_node")
    probe = ros.probe()
    ros.until(lambda: probe.count_publishers("reward") == 1, "the node")
    process.send_signal(signum)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Traceback" not in output
