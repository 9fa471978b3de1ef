"""The command `meld`: which commands there are, and what a person reads when something they gave is wrong."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union

import tyro

from meld_ros.commands import arguments as given_as
from meld_ros.commands.data_arguments import Data
from meld_ros.commands.reward_arguments import Camera, Reward
from meld_ros.commands.task_arguments import Task
from meld_ros.commands.teleop import Teleop

COMMANDS: dict[str, tuple[type, str]] = {
    "train": (given_as.Train, "dispatch:train"),
    "eval": (given_as.Eval, "dispatch:evaluate"),
    "sweep": (given_as.Sweep, "dispatch:sweep"),
    "probe": (given_as.Probe, "dispatch:probe"),
    "demo": (given_as.Demo, "demo:run_demo"),
    "study": (given_as.Study, "study:run_study"),
    "launch": (given_as.Launch, "dispatch:launch"),
    "task": (Task, "task:task"),
    "teleop": (Teleop, "teleop:run_teleop"),
    "doctor": (given_as.Doctor, "doctor:run_doctor"),
    "data": (Data, "data:data"),
    "reward": (Reward, "reward:reward"),
    "camera": (Camera, "reward:camera"),
    "bench": (given_as.Bench, "bench:run_bench"),
}
"""Command → its arguments, and the function of `meld_ros.commands` that does it: (arguments, command line) → exit code.
The function's module is imported when it is called, so that `--help` is quick and ROS and torch stay optional."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit code: 0 well, 1 something failed, 2 something given was wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = tyro.cli(_union(), prog="meld", args=given, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        return _run(command, shlex.join(["meld", *given]))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 0
    except Exception as error:
        if not _is_for_people(error):
            raise
        print(f"meld: {error}", file=sys.stderr)
        return 2


def _union() -> Any:
    """The type that tyro reads the command line as: one of all commands."""
    return Union[tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, (kind, _) in COMMANDS.items())]  # noqa: UP007


def _is_for_people(error: Exception) -> bool:
    """Whether this is one of our own errors, whose text is a sentence about what a person can mend."""
    ours = type(error).__module__.partition(".")[0] in ("meld_core", "meld_ros")
    return ours and isinstance(error, ValueError | RuntimeError)


def _run(command: Any, line: str) -> int:
    """Import what does the command, and do it."""
    module, function = next(place for kind, place in COMMANDS.values() if isinstance(command, kind)).split(":")
    do: Callable[[Any, str], int] = getattr(importlib.import_module(f"meld_ros.commands.{module}"), function)
    return do(command, line)


if __name__ == "__main__":
    sys.exit(main())
