"""`make test-ros`: the launch files under the genuine launch and launch_ros, where those are installed.

It builds the package into a temporary folder, because launch_ros starts installed executables only.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = {"robot": 2, "train": 4, "eval": 3}
"""Launch files, and how many nodes each starts without a camera; `train` before `eval`, which needs its weights."""


def main() -> int:
    """0 where all launch files ran, or where there is nothing to run them with."""
    # the folder launch/ of the checkout must not be taken for the package of that name
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != ROOT]
    if importlib.util.find_spec("launch_ros") is None:
        print("test-ros: launch_ros is not installed here, so the genuine launch did not run")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="meld-launch-"))
    if len(sys.argv) == 1:
        return subprocess.run([sys.executable, __file__, "installed"], cwd=folder, env=installed(folder)).returncode
    for mode in GRAPHS:
        check_choices(mode)
        run(mode)
        print(f"test-ros: {mode}.launch.py ran", flush=True)
    print(f"test-ros: {len(GRAPHS)} launch files ran under the genuine launch_ros, 0 failed")
    return 0


def installed(folder: Path) -> dict[str, str]:
    """Build, and give the environment that `source install/setup.bash` makes."""
    colcon = Path(sys.executable).parent / "colcon"
    places = ["--build-base", str(folder / "build"), "--install-base", str(folder / "install")]
    logs = ["--log-base", str(folder / "log")]
    subprocess.run([str(colcon), *logs, "build", "--base-paths", str(ROOT), *places], check=True, cwd=folder)
    shell = ["bash", "-c", f"source {folder}/install/setup.bash && env -0"]
    shown = subprocess.run(shell, capture_output=True, check=True).stdout.decode()
    return dict(pair.split("=", 1) for pair in shown.split("\0") if "=" in pair)


def service(mode: str, *arguments: str) -> Any:
    """A launch service that includes one of our launch files, as `ros2 launch` makes it."""
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    source = PythonLaunchDescriptionSource(os.path.join(ROOT, "launch", f"{mode}.launch.py"))
    pairs = [tuple(argument.split(":=")) for argument in arguments]
    launched = LaunchService(argv=list(arguments))
    launched.include_launch_description(LaunchDescription([IncludeLaunchDescription(source, launch_arguments=pairs)]))
    return launched


def check_choices(mode: str) -> None:
    """A wrong choice stops the launch."""
    if service(mode, "robot:=mujocoo").run() == 0:
        raise SystemExit(f"test-ros: {mode}.launch.py took robot:=mujocoo")


def run(mode: str) -> None:
    """Train and eval end by themselves; robot is stopped once all its nodes are there. Every node ends with 0."""
    from launch import LaunchDescription
    from launch.actions import RegisterEventHandler, Shutdown, TimerAction
    from launch.event_handlers import OnProcessExit, OnProcessStart

    started: list[str] = []
    ended: dict[str, int] = {}
    launched = service(mode, "config:=smoke", "run:=launched", "log_level:=warn")

    def on_start(event: Any, _: Any) -> list[Any]:
        started.append(event.process_name)
        everyone_is_there = mode == "robot" and len(started) == GRAPHS[mode]
        return [TimerAction(period=5.0, actions=[Shutdown(reason="all nodes are there")])] if everyone_is_there else []

    def on_exit(event: Any, _: Any) -> None:
        ended[event.process_name] = event.returncode

    handlers = [OnProcessStart(on_start=on_start), OnProcessExit(on_exit=on_exit)]
    launched.include_launch_description(LaunchDescription([RegisterEventHandler(handler) for handler in handlers]))
    code = launched.run()
    if code != 0 or len(started) != GRAPHS[mode] or len(ended) != len(started) or any(ended.values()):
        raise SystemExit(f"test-ros: {mode}.launch.py ended with exit code {code}; its nodes ended with {ended}")


if __name__ == "__main__":
    sys.exit(main())
