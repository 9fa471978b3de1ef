"""Arguments of the commands of `meld`; those of `meld data` stand in data_arguments.py, those of
`meld reward` and `meld camera` in reward_arguments.py."""

from __future__ import annotations

import dataclasses
from typing import Literal

import tyro

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
    reset: Literal["", "auto", "teleop"] = ""
    """Who brings the arm to its start pose, the robot or a person; empty: as the settings say (robot.reset)."""
    run: str = ""
    """Name of the run; its folder is runs/NAME. Empty: by date and time."""
    resume: bool = False
    """Go on with the run of this name, with its own settings."""
    in_process: bool = False
    """Without ROS: everything in one process."""
    from_data: tuple[str, ...] = ()
    """Collect nothing; train on the trials of these folders (imported bags, other runs), with their settings unless
    --config says others."""
    set: Overrides = dataclasses.field(default_factory=list)
    """Single settings, group.name=value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval:
    """Evaluate weights on held-out tasks, in simulation; or score what `meld launch eval` recorded on a bench."""

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
    """Write a certificate to this file."""
    video: str = ""
    """Film some of the trials into this file (.mp4 or .gif)."""
    recorded: bool = False
    """Run nothing: score the trials that `meld launch eval` (or eval.launch.py) left in the run's folder."""

    @property
    def only_recorded(self) -> bool:
        """Whether nothing is asked for that needs trials of its own."""
        return self == Eval(run=self.run, recorded=True)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say what is wrong with settings, machine and running graph, and what would do; exit code 1 where anything is."""

    run: str = ""
    """Folder (or name) of a run: its settings, its nodes. Empty: the only run whose graph is running here."""
    robot: str = "mujoco"
    """Robot: a file in config/robots."""
    task: str = "insertion"
    """Family of tasks: a file in config/tasks."""
    config: str = ""
    """Settings: a file in config/ by name, or any YAML file by path."""
    set: Overrides = dataclasses.field(default_factory=list)
    """Single settings, group.name=value."""
    mode: Literal["", "train", "eval", "robot"] = ""
    """Graph whose nodes must be there. Empty: the one that the running nodes make."""
    namespace: str = ""
    """Namespace of the nodes. Empty: that of the run's nodes."""
    patience: float = 8.0
    """How long to listen at most [s]; a healthy graph is done earlier."""
    json: bool = False
    """Print findings and facts as one JSON object."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure: one table, with goals, peers and bounds."""

    what: tyro.conf.Positional[tuple[str, ...]] = ()
    """learner, tick, graph, sim, replay, growth: how fast; durability: kill -9 at random moments, resume, count what
    was lost; soak: for a long time, does anything grow; safety: how soon the arm holds after each fault. Nothing: all
    that is about speed."""
    peer: str = ""
    """learner: a checkout of slac.pytorch to be measured beside ours."""
    device: Literal["cpu", "cuda"] = "cpu"
    """learner: what trains."""
    json: str = ""
    """Also write the figures to this file; figures of other subjects in it stay."""
    pictures: str = ""
    """growth: folder for its plots."""
    quick: bool = False
    """A tiny form of each: shows that it works, and measures little."""
    ticks: int = 0
    """tick: besides, so many in a row, to see whether anything grows (a million takes some 15 minutes)."""
    kills: int = 20
    """durability: how often."""
    hours: float = 1 / 3
    """soak: how long."""
    repetitions: int = 5
    """safety: how often each fault."""
    soak: float = 0.0
    """safety: afterwards a random fault every 30 s, for so many minutes."""
    seed: int = 0
    """Seed of everything that is drawn."""
