"""The launch files, executed against a recorder of the launch API, start what the supervisor starts."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from meld_core.config import ConfigError, flatten, to_mapping
from meld_ros.cli import main
from meld_ros.graph import Options, Process, environment, render
from meld_ros.launching import MODES, parse_arguments, prepare
from meld_ros.share import resolve_config
from test.ros.launch_recorder import Node, execute

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def launch_file(mode: str) -> Path:
    return ROOT / "launch" / f"{mode}.launch.py"


def parameters(path: Path) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(path.read_text())["/**"]["ros__parameters"]
    return given


def as_command(node: Node) -> list[str]:
    """The ROS part of the command line that launch_ros makes of a node, in the supervisor's order."""
    names = [("__node", node.name), *([("__ns", node.namespace)] if node.namespace else [])]
    remaps = [part for old, new in [*names, *node.remappings] for part in ("-r", f"{old}:={new}")]
    files = [part for path in node.parameters for part in ("--params-file", path)]
    return ["--ros-args", *remaps, *files, *node.ros_arguments]


def supervised(mode: str, run: str, **options: Any) -> list[Process]:
    folder = Path("runs").resolve() / run
    return render(mode, resolve_config(config="smoke"), Options(folder=folder, **options))


@pytest.mark.parametrize("mode", ["train", "robot"])
def test_launch_and_supervisor_start_the_same(mode: str) -> None:
    ours = supervised(mode, "ours", namespace="left", use_sim_time=True, log_level="warn")
    theirs = execute(
        launch_file(mode), run="theirs", config="smoke", namespace="left", use_sim_time="true", log_level="warn"
    ).nodes
    assert [node.name for node in theirs] == [process.name for process in ours]
    for node, process in zip(theirs, ours, strict=True):
        assert node.package == "meld_ros"
        assert process.command[1:3] == ("-m", f"meld_ros.{node.executable}")
        mine = [part.replace("/ours/", "/theirs/") for part in process.command[3:]]
        assert as_command(node) == mine
        assert dict(node.additional_env) == process.environment
        assert re.sub("/ours", "/theirs", json.dumps(parameters(process.parameter_file))) == json.dumps(
            parameters(Path(node.parameters[0]))
        )
        assert [action.reason for action in node.on_exit] == [f"node '{node.name}' ended"]


@pytest.mark.parametrize("begin", ["launch", "train"])
def test_an_agent_that_may_only_act_begins_no_training(begin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("three.yaml").write_text("task: {ports: 4}\nmodel: {ports: 3}\n")
    arguments = {"launch": ["train", "run:=x", "config:=three.yaml"], "train": ["--run", "x", "--config", "three.yaml"]}
    assert main([begin, *arguments[begin]]) == 2
    assert "model.ports is 3, task.ports 4: such an agent may act, not train" in capsys.readouterr().err
    assert not Path("runs/x").exists()


@pytest.mark.parametrize("begin", ["launch", "train"])
def test_an_engine_that_is_not_installed_is_said_before_anything_starts(
    begin: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if "onnx" in name else found(name, *more))
    Path("fast.yaml").write_text("policy: {engine: onnx}\n")
    arguments = {"launch": ["train", "run:=x", "config:=fast.yaml"], "train": ["--run", "x", "--config", "fast.yaml"]}
    assert main([begin, *arguments[begin]]) == 2
    assert "onnx and onnxruntime are not installed: pip install 'meld_ros[onnx]'" in capsys.readouterr().err
    assert not Path("runs/x").exists()


def test_eval_starts_the_graph_of_an_existing_run() -> None:
    execute(launch_file("train"), run="x", config="smoke")
    nodes = {node.name: node for node in execute(launch_file("eval"), run="x").nodes}
    assert list(nodes) == ["robot", "reward", "policy"]
    given = parameters(Path(nodes["policy"].parameters[0]))
    assert given["task.horizon"] == resolve_config(config="smoke").task.horizon  # the run's own settings
    assert given["mode"] == "eval"


def test_an_evaluation_takes_robot_and_task_from_its_run_and_a_file_on_top(tmp_path: Path) -> None:
    execute(launch_file("train"), run="x", config="smoke")
    (tmp_path / "few.yaml").write_text("eval: {trials: 7}\n")
    nodes = {node.name: node for node in execute(launch_file("eval"), run="x", config=str(tmp_path / "few.yaml")).nodes}
    given = parameters(Path(nodes["policy"].parameters[0]))
    assert (given["eval.trials"], given["task.horizon"]) == (7, resolve_config(config="smoke").task.horizon)
    for name, value in (("robot", "widowx"), ("task", "ethernet")):
        with pytest.raises(ConfigError, match=f"{name}:={value} would change nothing"):
            prepare("eval", parse_arguments("eval", ["run:=x", f"{name}:={value}"]))


@pytest.mark.parametrize("mode", MODES)
def test_arguments_have_descriptions_and_choices(mode: str) -> None:
    execute(launch_file("train"), run="x", config="smoke")
    declared = {argument.name: argument for argument in execute(launch_file(mode), run="x", config="smoke").arguments}
    wanted = {"robot", "task", "config", "reset", "run", "namespace", "use_sim_time", "rviz", "log_level"}
    assert set(declared) == wanted | {"eval": {"weights"}, "train": {"machine", "peer"}}.get(mode, set())
    assert all(argument.description.endswith(".") for argument in declared.values())
    assert declared["robot"].choices == ["mujoco", "ros2_control", "widowx"]
    assert declared["task"].choices == ["ethernet", "insertion", "switching"]


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_choice_is_refused(mode: str) -> None:
    with pytest.raises(
        RuntimeError,
        match=r"'robot' provided value 'mujocoo' is not valid. Valid options are: \['mujoco', 'ros2_control', ",
    ):
        execute(launch_file(mode), robot="mujocoo")
    with pytest.raises(ConfigError, match="launch argument robot:=mujocoo is not possible; did you mean 'mujoco'?"):
        parse_arguments(mode, ["robot:=mujocoo"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("robt:=mujoco", "launch argument 'robt' is unknown; did you mean 'robot'?"),
        ("robot=mujoco", "'robot=mujoco' is not of the form name:=value"),
        ("weights:=x", "launch argument 'weights' is unknown"),
    ],
)
def test_meld_launch_refuses(given: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        parse_arguments("train", [given])


def test_rviz_is_started_where_it_is_installed() -> None:
    with_it = execute(launch_file("robot"), ["rviz2"], run="x", config="smoke", rviz="true", namespace="left")
    rviz = with_it.nodes[-1]
    assert (rviz.package, rviz.executable, rviz.namespace) == ("rviz2", "rviz2", "left")
    assert Path(rviz.arguments[1]).is_file()
    without = execute(launch_file("robot"), run="x", config="smoke", rviz="true")
    assert "rviz" not in [node.name for node in without.nodes]
    assert "rviz2 is not installed: going on without it" in without.messages


def test_camera_takes_part_where_a_device_is_set(tmp_path: Path) -> None:
    config = resolve_config(overrides=["camera.device=film.mp4"])
    with_it = [process.name for process in render("train", config, Options(folder=tmp_path))]
    without = [process.name for process in render("train", resolve_config(), Options(folder=tmp_path))]
    assert set(with_it) - set(without) == {"camera"}


def test_parameters_keep_their_types(tmp_path: Path) -> None:
    """A device named "0" must not arrive as a number; ROS would refuse it or, worse, take it."""
    config = resolve_config(overrides=["camera.device='0'", "sac.initial_temperature=1e-6"])
    processes = {process.name: process for process in render("train", config, Options(folder=tmp_path))}
    assert parameters(processes["camera"].parameter_file)["camera.device"] == "0"
    given = parameters(processes["trainer"].parameter_file)
    assert given["sac.initial_temperature"] == 1e-6
    assert {name: value for name, value in given.items() if "." in name} == flatten(to_mapping(config))


def test_threads_are_bounded(tmp_path: Path) -> None:
    processes = {p.name: p for p in render("train", resolve_config(), Options(folder=tmp_path))}
    assert processes["policy"].environment["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in processes["trainer"].environment  # learner.threads=0: torch's choice
    assert int(processes["trainer"].environment["MALLOC_TRIM_THRESHOLD_"]) >= 1 << 30


def test_environment_keeps_what_a_person_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    given = environment(tmp_path, 42)
    assert given["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert given["RMW_IMPLEMENTATION"] == "rmw_fastrtps_cpp"
    assert given["ROS_DOMAIN_ID"] == "42"
    assert given["ROS_LOG_DIR"].startswith(str(tmp_path))


def test_an_arm_has_the_time_that_parking_takes(tmp_path: Path) -> None:
    """3 rad at 0.2 rad/s are 15 s, besides the 10 s of any robot."""
    slow = resolve_config("widowx", overrides=["driver.park_speed=0.2"])
    for config, expected in ((slow, 25.0), (resolve_config(), 10.0)):
        processes = {process.name: process for process in render("robot", config, Options(folder=tmp_path))}
        assert processes["robot"].stop_timeout == pytest.approx(expected)
