"""Arguments of `meld data ...`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class Verify:
    """Read everything; say what is sound and what is not."""

    folder: tyro.conf.Positional[str]
    """Folder of a run, a replay or a spool."""
    repair: bool = False
    """Move what is not sound into quarantine/, with the reason beside it. Nothing is deleted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """Record topics into a bag (MCAP, in the layout of rosbag2) until Ctrl-C."""

    run: str = ""
    """Name (or folder) of a run that `meld` started here: its ROS domain, and its settings into the bag."""
    out: str = ""
    """Folder of the bag (default: RUN/bags/DATE, or bags/DATE without a run)."""
    topics: tuple[str, ...] = ()
    """Only these topics; empty: all but /rosout and /parameter_events."""
    split: float = 1024.0
    """A new file is begun after this much [MB]."""


@dataclasses.dataclass(frozen=True)
class Recover:
    """Save what a recording that was killed has left, as a whole bag."""

    bag: tyro.conf.Positional[str]
    """Folder of the bag, or one MCAP file."""
    out: str
    """Folder of the new bag."""


@dataclasses.dataclass(frozen=True)
class Import:
    """Turn a bag into trials, byte for byte those that the live policy stored."""

    bag: tyro.conf.Positional[str]
    """Folder of a bag, or one file of it."""
    out: str
    """Folder for the trials; more bags may follow into the same one."""
    run: str = ""
    """Name (or folder) of the run whose settings apply; empty: those in the bag."""
    weights: str = ""
    """File of the weights that acted, where the bag does not hold them (an evaluation)."""
    namespace: str | None = None
    """Namespace of the graph, where the bag holds several."""
    from_steps: bool = False
    """Rebuild every trial from its steps, also where the bag holds the trial itself."""


@dataclasses.dataclass(frozen=True)
class Replay:
    """Let the agent act on a bag's observations again, and compare its actions with the recorded ones."""

    bag: tyro.conf.Positional[str]
    """Folder of a bag, or one file of it."""
    weights: str = ""
    """File of the weights to act with; empty: those in the bag."""
    run: str = ""
    """Name (or folder) of the run whose settings apply; empty: those in the bag."""
    namespace: str | None = None
    """Namespace of the graph, where the bag holds several."""
    tolerance: float = 0.0
    """Largest deviation of an action that is still called equal (actions lie in [-1, 1])."""
    json: str = ""
    """Also write the figures to this file."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Trials for other programs: NumPy archives, or a LeRobot dataset."""

    folder: tyro.conf.Positional[str]
    """Folder of a run, an imported bag, a replay or a spool."""
    format: Literal["npz", "lerobot"]
    """npz: one archive per trial. lerobot: one dataset (v3.0)."""
    out: str
    """Folder to write; it must not exist yet."""


@dataclasses.dataclass(frozen=True)
class Data:
    """Data in and out: look after what is stored; record, import, replay and export."""

    action: tyro.conf.OmitArgPrefixes[
        Annotated[Verify, tyro.conf.subcommand("verify", prefix_name=False)]
        | Annotated[Record, tyro.conf.subcommand("record", prefix_name=False)]
        | Annotated[Recover, tyro.conf.subcommand("recover", prefix_name=False)]
        | Annotated[Import, tyro.conf.subcommand("import", prefix_name=False)]
        | Annotated[Replay, tyro.conf.subcommand("replay", prefix_name=False)]
        | Annotated[Export, tyro.conf.subcommand("export", prefix_name=False)]
    ]
    """What to do."""
