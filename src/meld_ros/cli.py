"""The command `meld`: arguments, and what a person gets to read when something they gave is wrong."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from meld_ros.commands.reward_arguments import Camera, Reward

Overrides = tyro.conf.UseAppendAction[list[list[str]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Meta-train, then evaluate on held-out tasks."""

    config: str = ""
    """Settings: a file in config/ by name (smoke, ...), or any YAML file by path."""
    robot: str = "mujoco"
    """Robot: a file in config/robots."""
    task: str = "insertion"
    """Family of tasks: a file in config/tasks."""
    run: str = ""
    """Name of the run; its folder is runs/NAME. Empty: by date and time."""
    resume: bool = False
    """Go on with the run of this name, with its own settings."""
    in_process: bool = False
    """Without ROS: everything in one process."""
    set: Overrides = dataclasses.field(default_factory=list)
    """Single settings, group.name=value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval:
    """Evaluate weights on held-out tasks and write a certificate."""

    run: str = ""
    """Folder (or name) of a run: its newest weights."""
    weights: str = ""
    """A weights file instead; `demo` for those of the package."""
    trials: int | None = None
    """Held-out tasks (default: eval.trials)."""
    task_seed: int | None = None
    """Seed of the first task (default: eval.task_seed)."""
    clear_belief: bool = False
    """Control: forget the belief between episodes."""
    set: Overrides = dataclasses.field(default_factory=list)
    """Single settings, group.name=value."""
    json: str = ""
    """Also write the certificate to this file."""
    video: str = ""
    """Film some of the trials into this file (.mp4 or .gif)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Where weights break: the same weights on benches that they were not trained on, one change at a time."""

    run: str = ""
    """Folder (or name) of a run: its newest weights."""
    weights: str = ""
    """A weights file instead; `demo` for those of the package."""
    trials: int = 60
    """Held-out tasks per condition."""
    set: Overrides = dataclasses.field(default_factory=list)
    """Single settings, group.name=value."""
    json: str = ""
    """Also write the figures to this file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """What the belief knows, and when: a linear probe of the live port along the trial."""

    run: str = ""
    """Folder (or name) of a run: its newest weights."""
    weights: str = ""
    """A weights file instead; `demo` for those of the package."""
    trials: int = 100
    """Tasks to roll."""
    split: Literal["train", "validation", "held_out"] = "validation"
    """Tasks of this split."""
    set: Overrides = dataclasses.field(default_factory=list)
    """Single settings, group.name=value."""
    json: str = ""
    """Also write the figures to this file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo:
    """Watch trained weights adapt to unseen tasks in simulation: a table, a video and a picture."""

    tasks: int = 12
    """Held-out tasks."""
    task_seed: int | None = None
    """Seed of the first task (default: eval.task_seed)."""
    folder: str = "runs/demo"
    """Where video and picture go."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Train and evaluate every row of a study (resumable), and write its page of results."""

    name: tyro.conf.Positional[str]
    """A file in config/studies: insertion."""
    out: str = ""
    """Folder of its runs (default: runs/study-NAME)."""
    rows: str = ""
    """Only these rows, separated by commas."""
    seeds: str = ""
    """Only these seeds, separated by commas."""
    processes: int = 2
    """Cells (row and seed) at a time, one thread each."""
    cpu_hours: float = 12.0
    """No further cell is started once the study has used this much CPU time."""
    smoke: bool = False
    """A miniature of every kind of row, in a minute; its page lies in the folder of its runs."""
    report: bool = False
    """Run nothing; score what is on disk and write the page."""
    list_rows: bool = False
    """Run nothing; list the rows and what is finished."""
    docs: str = ""
    """Folder of the page, its figures and pictures (default: docs)."""
    keep_replay: bool = False
    """Leave replay and checkpoints of finished cells; they take some hundred megabytes each."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """Start a graph of nodes as `ros2 launch meld_ros MODE.launch.py` would, where that is absent."""

    mode: tyro.conf.Positional[str]
    """train, eval or robot."""
    arguments: tyro.conf.Positional[tuple[str, ...]] = ()
    """name:=value; those of the launch files."""
    show_args: bool = False
    """Only list the arguments."""


@dataclasses.dataclass(frozen=True)
class Data:
    """Look after what a run has stored."""

    action: tyro.conf.Positional[Literal["verify"]]
    """verify: read everything; say what is sound and what is not."""
    folder: tyro.conf.Positional[str]
    """Folder of a run, a replay or a spool."""
    repair: bool = False
    """verify: move what is not sound into quarantine/, with the reason beside it. Nothing is deleted."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measure."""

    what: tyro.conf.Positional[Literal["durability"]]
    """durability: kill -9 at random moments, resume, count what was lost."""
    kills: int = 20
    """durability: how often."""
    seed: int = 0
    """Seed of everything that is drawn."""
    json: str = ""
    """Also write the figures to this file."""


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Eval, tyro.conf.subcommand("eval")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Probe, tyro.conf.subcommand("probe")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[Launch, tyro.conf.subcommand("launch")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Reward, tyro.conf.subcommand("reward")]
    | Annotated[Camera, tyro.conf.subcommand("camera")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit code: 0 well, 1 something failed, 2 something given was wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = tyro.cli(Command, prog="meld", args=given, config=(tyro.conf.FlagCreatePairsOff,))
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


def _is_for_people(error: Exception) -> bool:
    """Whether this is one of our own errors, whose text is a sentence about what a person can mend."""
    ours = type(error).__module__.partition(".")[0] in ("meld_core", "meld_ros")
    return ours and isinstance(error, ValueError | RuntimeError)


def _run(command: Command, line: str) -> int:
    from meld_ros.commands import dispatch as commands

    if isinstance(command, Train):
        return commands.train(command, line)
    if isinstance(command, Eval):
        return commands.evaluate(command, line)
    if isinstance(command, Sweep):
        return commands.sweep(command)
    if isinstance(command, Probe):
        return commands.probe(command)
    if isinstance(command, Demo):
        return commands.demo(command)
    if isinstance(command, Study):
        return commands.study(command, line)
    if isinstance(command, Launch):
        return commands.launch(command)
    if isinstance(command, Reward):
        return commands.reward(command)
    if isinstance(command, Camera):
        return commands.camera(command)
    if isinstance(command, Bench):
        return commands.bench(command)
    return commands.verify(command)


if __name__ == "__main__":
    sys.exit(main())
