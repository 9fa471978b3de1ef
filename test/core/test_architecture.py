"""The rule of the house, held by reading the sources: who may import what, and who must not know the truth."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
FILES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted((ROOT / "test").rglob("*.py"))

NODES = ("meld_ros/conversions.py", "meld_ros/qos.py", "meld_ros/images.py", "meld_ros/diagnostics.py",
         "meld_ros/node_main.py", "meld_ros/*_node.py", "meld_ros/trial_sender.py", "meld_ros/camera_sources.py",
         "meld_ros/weights_receiver.py",
         "meld_ros/label_node.py", "meld_ros/stop_server.py", "meld_ros/teleop_side.py",
         "meld_ros/doctor_probe.py", "meld_ros/marker_server.py", "meld_ros/person_link.py",
         "meld_ros/keyboard_node.py", "meld_ros/markers.py", "meld_ros/belief_view.py")  # fmt: skip
DRIVERS = ("meld_ros/robots/driver_side.py", "meld_ros/robots/ros2_control.py", "meld_ros/robots/widowx.py")
"""Each alone knows its driver's messages."""
MESSAGES = ("builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "rcl_interfaces", "rosgraph_msgs", "sensor_msgs",
            "std_msgs", "std_srvs", "visualization_msgs")  # fmt: skip
ALLOWED: dict[str, tuple[str, ...]] = {
    "numpy": (
        "meld_core/**", "meld_ros/bench/*",
        "meld_ros/marker_server.py", "meld_ros/person_link.py", "meld_ros/markers.py",
        "meld_ros/belief_view.py",
        "meld_ros/conversions.py", "meld_ros/images.py", "meld_ros/camera_sources.py",
        "meld_ros/commands/label_bag.py", "meld_ros/*_node.py", "meld_ros/robots/*", "meld_ros/commands/demo.py",
        "meld_ros/doctor_probe.py",
    ),
    "torch": (
        "meld_core/accelerator.py", "meld_core/acting_nets.py", "meld_core/agent.py", "meld_core/ahead.py",
        "meld_core/baselines/recurrent_ppo.py", "meld_core/baselines/rl2.py",
        "meld_core/evaluation/beliefs.py", "meld_core/bench/*",
        "meld_core/batch.py", "meld_core/belief_cache.py", "meld_core/storage/checkpoint.py",
        "meld_core/evaluation/workers.py", "meld_core/latent_contract.py", "meld_core/latent_model.py",
        "meld_core/learner.py", "meld_core/metrics.py", "meld_core/nets.py", "meld_core/detectors/net.py",
        "meld_core/descent.py", "meld_core/detectors/training.py", "meld_core/recorded_update.py", "meld_core/sac.py",
        "meld_core/onnx_nets.py", "meld_core/sac_nets.py", "meld_core/slac/*", "meld_core/threads.py",
        "meld_core/weights.py",
    ),
    "onnx": ("meld_core/onnx_nets.py",),
    "onnxruntime": ("meld_core/onnx_nets.py",),
    "safetensors": ("meld_core/storage/tensor_file.py",),
    "yaml": ("meld_core/config.py",),
    "cv2": (
        "meld_core/rewards.py", "meld_core/views.py", "meld_core/detectors/*", "meld_core/cameras/*",
        "meld_ros/images.py",
    ),
    "mujoco": ("meld_core/sim/*", "meld_core/kinematics.py"),
    "mink": ("meld_core/sim/*", "meld_core/kinematics.py"),
    "mujoco_warp": ("meld_core/sim/*",),
    "warp": ("meld_core/sim/*",),
    "pyarrow": ("meld_core/exchange/lerobot.py",),
    "rosbags": ("meld_ros/bags/*",),
    "gymnasium": ("meld_core/sim/*", "meld_core/baselines/recurrent_ppo.py", "meld_core/bench/simulation.py"),
    "sb3_contrib": ("meld_core/baselines/recurrent_ppo.py",),
    "stable_baselines3": ("meld_core/baselines/recurrent_ppo.py",),
    "matplotlib": ("meld_core/reporting/*", "meld_core/detectors/plot.py", "meld_core/study/plots.py"),
    "PIL": ("meld_core/reporting/*",),
    "imageio_ffmpeg": ("meld_core/reporting/video.py",),
    "rich": ("meld_core/reporting/progress.py", "meld_ros/commands/*"),
    "tyro": (
        "meld_ros/cli.py", "meld_ros/commands/arguments.py", "meld_ros/commands/data_arguments.py",
        "meld_ros/commands/reward_arguments.py", "meld_ros/commands/task_arguments.py",
    ),
    "rclpy": ("meld_ros/bags/*", "meld_ros/bench/ring.py", *NODES, *DRIVERS, "meld_ros/robots/__init__.py"),
    **dict.fromkeys(MESSAGES, NODES),
    **dict.fromkeys(("builtin_interfaces", "sensor_msgs"), (*NODES, *DRIVERS)),
    "std_srvs": (*NODES, "meld_ros/robots/widowx.py"),
    "trajectory_msgs": ("meld_ros/robots/ros2_control.py",),
    "interbotix_xs_msgs": ("meld_ros/robots/widowx.py",),
    "launch": ("meld_ros/launching.py", "meld_ros/gazebo.py"),
    "launch_ros": ("meld_ros/launching.py", "meld_ros/gazebo.py"),
    "xacro": ("meld_ros/gazebo.py", "meld_ros/description.py"),
    "tf2_ros": ("meld_ros/view_node.py",),
    "ament_index_python": ("meld_ros/launching.py",),
}  # fmt: skip
"""Every third-party package, and the files that may import it."""

BLIND = ("acting_nets", "agent", "belief_cache", "collector", "driver", "joiner", "latent_contract", "latent_model",
         "learner", "nets", "detectors/classifier", "detectors/drift", "detectors/net", "detectors/pose",
         "detectors/training", "rewards", "sac", "sac_nets", "schedule", "scripted_search", "slac/convolution",
         "slac/model", "slac/nets", "weights")  # fmt: skip
"""Modules of meld_core in which the simulator's knowledge has no name."""


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE if path.is_relative_to(SOURCE) else ROOT).as_posix()


def imports_of(path: Path) -> set[str]:
    """Top-level packages that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names)


def fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern.replace("**", ".+").replace("/*", "/[^/]+"), name) for pattern in patterns)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_only_what_its_room_may(path: Path) -> None:
    third_party = imports_of(path) - {"meld_core", "meld_ros"}
    assert sorted(package for package in third_party if not fits(name_of(path), ALLOWED.get(package, ()))) == []


@pytest.mark.parametrize("path", sorted((SOURCE / "meld_core").rglob("*.py")), ids=name_of)
def test_the_core_knows_nothing_of_ros(path: Path) -> None:
    assert imports_of(path) & {"meld_ros", "rclpy", *MESSAGES} == set()


@pytest.mark.parametrize("module", BLIND)
def test_the_agent_has_no_word_for_the_truth(module: str) -> None:
    assert "truth" not in (SOURCE / "meld_core" / f"{module}.py").read_text(encoding="utf-8").lower()


def test_the_nodes_of_agent_and_reward_never_look_at_the_truth() -> None:
    for node in ("policy_node", "reward_node"):
        path = SOURCE / "meld_ros" / f"{node}.py"
        assert re.findall(r"truth\[|\.truth\b", path.read_text(encoding="utf-8")) == [], node


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=name_of)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_pickled(path: Path) -> None:
    assert imports_of(path) & {"cloudpickle", "dill", "joblib", "pickle", "shelve"} == set()
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"\b(?:torch\.save|torch\.load|np\.load\(|allow_pickle=True|import pickle)", text) == []
