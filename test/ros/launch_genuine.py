"""`make test-ros`: the launch files under the genuine launch and launch_ros, where those are installed."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODES = ("robot", "train", "eval")


def main() -> int:
    """0 where all launch files ran, or where there is nothing to run them with."""
    # the folder launch/ of the checkout must not be taken for the package of that name
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != ROOT]
    if importlib.util.find_spec("launch_ros") is None or importlib.util.find_spec("launch.launch_service") is None:
        print("test-ros: launch_ros is not installed here, so the genuine launch did not run")
        return 0
    os.chdir(tempfile.mkdtemp(prefix="meld-launch-"))
    for mode in MODES:
        check_choices(mode)
        run(mode)
    print(f"test-ros: {len(MODES)} launch files ran under the genuine launch_ros")
    return 0


def service(mode: str, *arguments: str):  # type: ignore[no-untyped-def]
    """A launch service with one of our launch files included."""
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{mode}.launch.py"))
    pairs = [tuple(argument.split(":=")) for argument in arguments]
    launched = LaunchService(argv=list(arguments))
    launched.include_launch_description(LaunchDescription([IncludeLaunchDescription(source, launch_arguments=pairs)]))
    return launched


def check_choices(mode: str) -> None:
    """A wrong choice stops the launch."""
    assert service(mode, "robot:=mujocoo").run() != 0, f"{mode}.launch.py took robot:=mujocoo"


def run(mode: str) -> None:
    """Start, wait until every node says it is there, stop: exit code 0."""
    from launch.actions import RegisterEventHandler
    from launch.event_handlers import OnProcessStart

    started: list[str] = []
    launched = service(mode, "config:=smoke", "run:=launched")

    def note(event, context):  # type: ignore[no-untyped-def]
        started.append(event.process_name)
        if len(started) == expected(mode):
            asyncio.get_running_loop().call_later(5.0, launched.shutdown)

    launched.include_launch_description(_description(RegisterEventHandler(OnProcessStart(on_start=note))))
    code = launched.run()
    assert code == 0, f"{mode}.launch.py ended with exit code {code}"
    assert len(started) == expected(mode), started


def _description(entity):  # type: ignore[no-untyped-def]
    from launch import LaunchDescription

    return LaunchDescription([entity])


def expected(mode: str) -> int:
    """How many nodes the table has for a mode, without a camera."""
    from meld_ros.graph import GRAPHS

    return sum(not spec.only_with for spec in GRAPHS[mode])


if __name__ == "__main__":
    sys.exit(main())
