"""Looks at the machine: disk, rendering, graphics card, packages, files that settings name, whether ROS starts."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

from meld_core.config import Config
from meld_core.doctor.snapshot import MachineSeen
from meld_core.storage.disk_room import MEGABYTE

_CAMERAS = ("camera", "wrist_camera", "detector_camera")
_NVIDIA = Path("/dev/nvidiactl")
_RENDER = "from meld_core.sim.render import {call}"
_START_ROS = "import rclpy; rclpy.init(); rclpy.shutdown()"
_UNKNOWN = "not known in time"


def look_at_machine(config: Config | None, folder: Path | None, mode: str, patience: float) -> MachineSeen:
    """Everything that can be told without a graph.

    Args:
        config: Whose settings are to work here; None where they cannot be read.
        folder: Folder of the run, None where there is none yet.
        mode: Graph that is to run.
        patience: What a probe may take [s]; what it does not tell in time is not held against the machine.
    """
    with concurrent.futures.ThreadPoolExecutor() as pool:
        ros = pool.submit(_ros, patience)
        rendering = pool.submit(_rendering, config, patience)
        gpu = pool.submit(_gpu, patience)
        where = _existing(folder or Path.cwd())
        facts = {"python": platform.python_version(), "renderer": rendering.result()[0], "GPU": gpu.result()[0]}
        return MachineSeen(
            facts=facts,
            free=_free(where),
            folder=str(where),
            rendering=rendering.result()[1],
            gpu=gpu.result()[1],
            missing_packages=_missing_packages(config, mode),
            missing_files=_missing_files(config) if config else {},
            weights=len(list((folder / "weights").glob("*.safetensors"))) if folder else 0,
            ros=ros.result(),
        )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir())


def _free(folder: Path) -> float:
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize / MEGABYTE


def _try(code: str, patience: float) -> tuple[str, str]:
    """Run Python in a process of its own, which a broken driver may take down. What it printed, and why it failed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        return _UNKNOWN, ""
    said = (done.stderr.strip() or f"ended with exit code {done.returncode}").splitlines()
    return done.stdout.strip(), said[-1] if done.returncode else ""


def _ros(patience: float) -> str:
    """A wrong middleware ends the process, so that it is tried in another one."""
    if importlib.util.find_spec("rclpy") is None:
        return ""
    return _try(_START_ROS, patience)[1]


def _rendering(config: Config | None, patience: float) -> tuple[str, str]:
    """Which renderer works, and why none does."""
    if config is None or config.robot.kind != "mujoco":
        return "not needed", ""
    kind = config.sim.renderer
    if kind == "auto":
        return _try(_RENDER.format(call="find_backend; print(find_backend())"), patience)
    shown, problem = _try(_RENDER.format(call=f"probe; probe({kind!r})"), patience)
    return ("" if problem else kind) or shown, problem


def _gpu(patience: float) -> tuple[str, str]:
    """Which graphics card is used, and why one is not."""
    if not _NVIDIA.exists():
        return "none", ""
    shown, problem = _try("import torch; print(torch.cuda.is_available(), torch.__version__)", patience)
    if problem or not shown.startswith("False"):
        return "NVIDIA", ""
    return "NVIDIA, not used", f"an NVIDIA card is here, but torch {shown.split()[-1]} cannot use it"


def _missing_packages(config: Config | None, mode: str) -> dict[str, str]:
    needed = {"rclpy": "source a ROS 2 install, or `pip install ros-rclpy ros-rmw-fastrtps-cpp ros-common-interfaces`"}
    if mode in ("train", "eval"):
        needed["torch"] = "`pip install torch`"
    if config is not None and config.robot.kind == "mujoco":
        needed["mujoco"] = "`pip install mujoco mink`"
    if config is not None and config.robot.kind == "widowx":
        needed["interbotix_xs_msgs"] = "`sudo apt install ros-$ROS_DISTRO-interbotix-xs-msgs`"
    if config is not None and config.camera.device:
        needed["cv2"] = "`pip install opencv-python-headless`"
    return {name: install for name, install in needed.items() if importlib.util.find_spec(name) is None}


def _missing_files(config: Config) -> dict[str, str]:
    named: dict[str, str] = {}
    for group in _CAMERAS:
        camera = getattr(config, group)
        if camera.device and not camera.device.startswith("topic:"):
            named[f"{group}.device"] = f"/dev/video{camera.device}" if camera.device.isdecimal() else camera.device
        named |= {f"{group}.reference": camera.reference, f"{group}.calibration": camera.calibration}
    named |= {"reward.goals": config.reward.goals} if config.reward.kind == "pose" else {}
    named |= {"reward.weights": config.reward.weights} if config.reward.kind == "classifier" else {}
    named |= {"task.taught": config.task.taught} if config.task.name == "ethernet" else {}
    return {setting: path for setting, path in named.items() if path and not Path(path).exists()}
