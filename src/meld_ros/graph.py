"""The one table of nodes: which run in each mode, which settings each gets, how each is started and stopped.

`launch/*.launch.py` and `supervisor.py` both render this table, so that they cannot differ.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meld_core.config import Config, ConfigError, did_you_mean, flatten, to_mapping
from meld_ros.network import network_environment

LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")

_ALL = tuple(field.name for field in dataclasses.fields(Config))

_RESTARTS = 3
_PARKING = 3.0
"""Way of the fastest joint from the workspace to the rest pose, lifting included [rad]."""

# glibc gives every freed large tensor back to the kernel and faults it in again; these keep the pages.
_KEEP_PAGES = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """A row of the table."""

    name: str
    """The node's name; its log is `logs/<name>.log`."""
    sections: tuple[str, ...]
    """Groups of settings that it gets as parameters `group.name`."""
    parameters: tuple[str, ...] = ()
    """Parameters of the run that it gets besides: of run_folder, mode, weights."""
    ends_graph: bool = False
    """When all of these ended with exit code 0, the graph has reached its end."""
    stop_rank: int = 2
    """Lower ranks are stopped first: who commands motion before who carries it out."""
    stop_timeout: float = 5.0
    """What it may take to end when asked [s]."""
    one_thread: bool = True
    """Whether numerical libraries are held to one thread (else `learner.threads`)."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    orphan_signal: signal.Signals = signal.SIGKILL
    """What it gets when the supervisor itself is killed."""
    remappings: tuple[tuple[str, str], ...] = ()
    """Only beside a simulation, which publishes pictures of its own."""
    restarts: int = 0
    """How often in a run it is started again after it died. For nodes that handle data only, and for what a person
    acts through, which begins by moving nothing: who commands motion by itself, or carries it out, a person starts."""
    only_with: tuple[str, ...] = ()
    """It takes part only where one of these settings is not empty, or, as `name=value`, has this value."""
    machine: str = "arm"
    """Where it runs when arm and trainer are two machines."""
    for_viewing: bool = False
    """It takes part only where somebody looks."""

    @property
    def executable(self) -> str:
        """Console script and module of meld_ros."""
        return f"{self.name}_node"


ROBOT = NodeSpec(
    name="robot",
    sections=("robot", "driver", "gate", "task", "sim", "reward"),
    stop_rank=1,
    stop_timeout=10.0,  # a real arm parks first
    orphan_signal=signal.SIGTERM,  # holds the arm still and parks it; never simply dropped
)
REWARD = NodeSpec(name="reward", sections=("reward", "robot"), restarts=_RESTARTS)
POLICY = NodeSpec(
    name="policy", sections=_ALL, parameters=("run_folder", "mode", "weights"), ends_graph=True, stop_rank=0
)
TRAINER = NodeSpec(
    name="trainer",
    sections=_ALL,
    parameters=("run_folder",),
    one_thread=False,
    stop_timeout=30.0,
    environment=_KEEP_PAGES,
    restarts=_RESTARTS,
    machine="trainer",
)
CAMERA = NodeSpec(
    name="camera",
    sections=("camera", "wrist_camera", "detector_camera", "sim"),
    remappings=(("image", "camera/image"), ("detector_image", "camera/detector_image")),
    only_with=("camera.device",),
)

TELEOP = NodeSpec(
    name="teleop",
    sections=_ALL,
    only_with=("robot.reset=teleop", "robot.setup=person", "train.demonstrator=person"),
    restarts=_RESTARTS,
)
"""It commands only what a person's hand does now: one that is started again moves nothing."""

VIEW = NodeSpec(name="view", sections=_ALL, restarts=_RESTARTS, for_viewing=True)

GRAPHS: dict[str, tuple[NodeSpec, ...]] = {
    "train": (CAMERA, ROBOT, REWARD, TRAINER, TELEOP, VIEW, POLICY),
    "eval": (CAMERA, ROBOT, REWARD, TELEOP, VIEW, POLICY),
    "robot": (CAMERA, ROBOT, REWARD, dataclasses.replace(TELEOP, only_with=()), VIEW),
}
"""Nodes of each mode, in the order in which they are started."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a rendering needs besides the config."""

    folder: Path
    """The run's folder, absolute; parameter files go to `parameters/` in it."""
    namespace: str = ""
    use_sim_time: bool = False
    log_level: str = "info"
    weights: str = ""
    """Weights to evaluate; empty: the newest of the run."""
    machine: str = "all"
    """Which half of the graph runs here: one of network.MACHINES."""
    peer: str = ""
    """Address of the other machine."""
    viewing: bool = False
    """Whether somebody looks, with RViz or another viewer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Process:
    """A node as it is started."""

    name: str
    executable: str
    namespace: str
    parameter_file: Path
    ros_arguments: tuple[str, ...]
    remappings: tuple[tuple[str, str], ...]
    environment: dict[str, str]
    ends_graph: bool
    stop_rank: int
    stop_timeout: float
    orphan_signal: int
    restarts: int
    command: tuple[str, ...]
    """Command line of the supervisor's rendering."""


def render(mode: str, config: Config, options: Options) -> list[Process]:
    """Write each node's ROS parameter file and say how each is started.

    Raises:
        ConfigError: on an unknown mode or log level.
    """
    if mode not in GRAPHS:
        raise ConfigError(f"there is no graph '{mode}'{did_you_mean(mode, GRAPHS)}")
    if options.log_level not in LOG_LEVELS:
        raise ConfigError(f"log_level is '{options.log_level}'{did_you_mean(options.log_level, LOG_LEVELS)}")
    folder = options.folder / "parameters"
    folder.mkdir(parents=True, exist_ok=True)
    here = [spec for spec in GRAPHS[mode] if options.machine in ("all", spec.machine)]
    specs = [spec for spec in here if takes_part(spec, config, options.viewing)]
    return [_render_node(spec, mode, config, options, folder / f"{spec.name}.yaml") for spec in specs]


def takes_part(spec: NodeSpec, config: Config, viewing: bool = False) -> bool:
    """Whether a node of a graph is started with these settings, and somebody who looks or not."""
    if spec.for_viewing:
        return viewing
    settings = flatten(to_mapping(config))
    given = [condition.partition("=") for condition in spec.only_with]
    return not given or any(settings[name] == value if equals else settings[name] for name, equals, value in given)


def _render_node(spec: NodeSpec, mode: str, config: Config, options: Options, path: Path) -> Process:
    parameters = parameters_of(spec, mode, config, options)
    # JSON is YAML in which every string is quoted: a device named "0" stays text, a name like `y` no boolean.
    path.write_text(json.dumps({"/**": {"ros__parameters": parameters}}, indent=1) + "\n", encoding="utf-8")
    arguments = ("--log-level", options.log_level, "--enclave", f"/meld/{spec.name}")
    names = (("__node", spec.name), *((("__ns", _absolute(options.namespace)),) if options.namespace else ()))
    remappings = spec.remappings if config.robot.kind == "mujoco" else ()
    remaps = [part for old, new in (*names, *remappings) for part in ("-r", f"{old}:={new}")]
    return Process(
        name=spec.name,
        executable=spec.executable,
        namespace=_absolute(options.namespace) if options.namespace else "",
        parameter_file=path,
        ros_arguments=arguments,
        remappings=remappings,
        environment=_threads(spec, config) | dict(spec.environment) | network_environment(options.peer),
        ends_graph=spec.ends_graph,
        stop_rank=spec.stop_rank,
        stop_timeout=_stop_timeout(spec, config),
        orphan_signal=spec.orphan_signal,
        restarts=spec.restarts,
        command=(
            sys.executable,
            "-m",
            f"meld_ros.{spec.executable}",
            "--ros-args",
            *remaps,
            "--params-file",
            str(path),
            *arguments,
        ),
    )


def _stop_timeout(spec: NodeSpec, config: Config) -> float:
    """An arm parks before its node ends: at its own speed, over a way that no rest pose exceeds."""
    parks = spec.name == ROBOT.name and config.robot.kind != "mujoco"
    return spec.stop_timeout + (_PARKING / config.driver.park_speed if parks else 0.0)


def parameters_of(spec: NodeSpec, mode: str, config: Config, options: Options) -> dict[str, Any]:
    """A node's ROS parameters by their flat names."""
    settings = to_mapping(config)
    run = {"run_folder": str(options.folder), "mode": mode, "weights": options.weights}
    flat = flatten({section: settings[section] for section in spec.sections})
    return flat | {name: run[name] for name in spec.parameters} | {"use_sim_time": options.use_sim_time}


def _absolute(namespace: str) -> str:
    return "/" + namespace.strip("/")


def _threads(spec: NodeSpec, config: Config) -> dict[str, str]:
    threads = 1 if spec.one_thread else config.learner.threads
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"} if threads else {}


def environment(folder: Path, domain: int | None) -> dict[str, str]:
    """Environment that all nodes of a supervised graph share: this process's own, with defaults where it says nothing.

    Args:
        folder: The run's folder.
        domain: ROS domain to use, None where the person set one.
    """
    defaults = {"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp", "RCUTILS_COLORIZED_OUTPUT": "0"}
    fixed = {"ROS_LOG_DIR": str(folder / "logs" / "ros"), "PYTHONUNBUFFERED": "1"}
    return defaults | dict(os.environ) | fixed | ({} if domain is None else {"ROS_DOMAIN_ID": str(domain)})
