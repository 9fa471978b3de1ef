"""What `meld doctor` looked at: the machine, the settings, and what was heard of a running graph."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from meld_core.config import Config


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One end of a topic, as discovery tells it."""

    node: str
    """Full name."""
    type: str
    reliable: bool
    latched: bool
    """Whether a late subscriber gets (or wants) what was said before."""
    lease: float = math.inf
    """Liveliness lease that is offered or asked for [s]."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """What matters of an image."""

    width: int
    height: int
    digest: str
    brightness: float
    """Mean, of 255."""
    problem: str = ""
    """Why its pixels cannot be read."""


@dataclasses.dataclass(frozen=True)
class Joints:
    """One message of joint states."""

    names: tuple[str, ...]
    positions: tuple[float, ...]
    """[rad], as many as came."""


@dataclasses.dataclass(frozen=True)
class Heard:
    """One message."""

    at: float
    """When it came, steady clock [s]."""
    stamp: int
    """Its header's [ns]."""
    behind: float
    """How long before it came its stamp was, by this machine's clock [s]; negative: in the future."""
    value: Any = None
    """A Picture, Joints, or a mapping of named values."""


@dataclasses.dataclass(frozen=True)
class TopicSeen:
    """One topic: who is on it, and what came."""

    publishers: tuple[Endpoint, ...] = ()
    subscribers: tuple[Endpoint, ...] = ()
    heard: tuple[Heard, ...] = ()

    @property
    def rate(self) -> float:
        """Messages per second between the first and the last one [Hz]; 0 for fewer than three."""
        if len(self.heard) < 3:
            return 0.0
        return (len(self.heard) - 1) / max(self.heard[-1].at - self.heard[0].at, 1e-9)

    @property
    def behind(self) -> float:
        """The least age of a stamp on arrival, or the furthest future one [s]: no delay of this machine makes it."""
        return min((heard.behind for heard in self.heard), default=0.0)


@dataclasses.dataclass(frozen=True)
class StatusSeen:
    """The newest word of a node on /diagnostics."""

    level: str
    """ok, warn or error."""
    message: str
    values: Mapping[str, str]
    sources: int = 1
    """Processes that speak under this name."""


@dataclasses.dataclass(frozen=True)
class ProcessSeen:
    """A node of ours that runs on this machine, as its process tells."""

    pid: int
    node: str
    namespace: str
    run: str
    """Folder of its run; empty where its command line does not tell."""
    domain: int
    rmw: str
    discovery: str
    """Discovery range; empty for ROS's own default."""
    profile: str = ""
    """File of settings of Fast DDS."""
    peer: str = ""
    """Other machine that it also hears."""
    mode: str = ""
    """policy: what it was started for, train or eval."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MachineSeen:
    """What was found without ROS. A sentence is empty where nothing is wrong."""

    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """For people."""
    free: float = math.inf
    """Room on the disk of the run's folder [MB]."""
    folder: str = ""
    """Where that was asked."""
    rendering: str = ""
    """Why no picture of the simulation can be made."""
    gpu: str = ""
    """Why a graphics card that is here is not used."""
    missing_packages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Package that the settings need and that cannot be imported → how it is installed."""
    missing_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Setting → file or device that it names and that is not there."""
    weights: int = 0
    """Weights files of the run."""
    ros: str = ""
    """Why ROS 2 does not start here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything that findings are made from."""

    config: Config | None
    config_problem: str = ""
    """Why there is no config."""
    config_where: str = ""
    """File or command line that it came from."""
    mode: str = "train"
    """Nodes that must run: those of this graph."""
    domain: int = 0
    """In which the graph was listened for."""
    namespace: str = "/"
    machine: MachineSeen = dataclasses.field(default_factory=MachineSeen)
    processes: tuple[ProcessSeen, ...] = ()
    expected: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Node of the graph → parameters that the config gives it."""
    parameters: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Node → parameters that it has."""
    statuses: Mapping[str, StatusSeen] = dataclasses.field(default_factory=dict)
    """Node → its newest status."""
    nodes: tuple[str, ...] = ()
    """Names of ours that discovery tells, without the namespace."""
    topics: Mapping[str, TopicSeen] = dataclasses.field(default_factory=dict)
    """By the name that the config or our own conversions give it."""
    gate: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The newest gate state, as it was told."""
    watched: float = 0.0
    """How long was listened [s]."""

    def topic(self, name: str) -> TopicSeen:
        """What is known of a topic."""
        return self.topics.get(name, TopicSeen())

    @property
    def runs(self) -> bool:
        """Whether a graph runs: one of its nodes spoke, or is known to discovery or to the kernel."""
        return bool(self.statuses or self.nodes or any(p.domain == self.domain for p in self.processes))

    @property
    def behind_driver(self) -> bool:
        """Whether the robot is a driver's, whose joints and cameras are heard whether or not a graph runs."""
        return self.config is not None and self.config.robot.kind != "mujoco"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    name: str
    """Which, in two words: `camera.frozen`."""
    severity: str
    """error: the run cannot work; warning: it works, but not as meant."""
    found: str
    """What was found."""
    remedy: str
    """What would do."""
    where: str = ""
    """Setting, file or command to change."""

    def to_json(self) -> dict[str, str]:
        """Plain JSON types."""
        return dataclasses.asdict(self)
