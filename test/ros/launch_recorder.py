"""A recorder of the launch API: enough of `launch`, `launch_ros` and `ament_index_python` to execute launch files.

It keeps what a launch file asks for instead of starting it. Signatures follow launch 3.x and launch_ros 0.28;
an argument that those do not know is a TypeError here too.
"""

from __future__ import annotations

import dataclasses
import runpy
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class LaunchContext:
    """Values of launch arguments."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.launch_configurations = dict(given)


@dataclasses.dataclass
class LaunchConfiguration:
    name: str

    def perform(self, context: LaunchContext) -> str:
        return context.launch_configurations[self.name]


@dataclasses.dataclass
class DeclareLaunchArgument:
    name: str
    _: dataclasses.KW_ONLY
    default_value: str | None = None
    description: str = ""
    choices: Sequence[str] | None = None

    def execute(self, context: LaunchContext) -> list[Any]:
        value = context.launch_configurations.setdefault(self.name, self.default_value or "")
        if self.choices and value not in self.choices:
            raise RuntimeError(
                f"Argument '{self.name}' provided value '{value}' is not valid. Valid options are: {self.choices}"
            )
        return []


@dataclasses.dataclass
class OpaqueFunction:
    _: dataclasses.KW_ONLY
    function: Callable[..., Any]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def execute(self, context: LaunchContext) -> list[Any]:
        return list(self.function(context, *self.args, **self.kwargs) or [])


@dataclasses.dataclass
class Shutdown:
    _: dataclasses.KW_ONLY
    reason: str = "reason not given"


@dataclasses.dataclass
class LogInfo:
    _: dataclasses.KW_ONLY
    msg: str

    def execute(self, context: LaunchContext) -> list[Any]:
        return []


@dataclasses.dataclass
class Node:
    _: dataclasses.KW_ONLY
    executable: str
    package: str
    name: str
    namespace: str = ""
    parameters: Sequence[Any] = ()
    remappings: Sequence[tuple[str, str]] = ()
    ros_arguments: Sequence[str] = ()
    arguments: Sequence[str] = ()
    additional_env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    output: str = "log"
    sigterm_timeout: str = "5"
    on_exit: Sequence[Any] = ()

    def execute(self, context: LaunchContext) -> list[Any]:
        return []


@dataclasses.dataclass
class ExecuteProcess:
    _: dataclasses.KW_ONLY
    cmd: Sequence[str]
    output: str = "log"

    def execute(self, context: LaunchContext) -> list[Any]:
        return []


@dataclasses.dataclass
class LaunchDescription:
    entities: Sequence[Any]


class PackageNotFoundError(KeyError):
    """As of ament_index_python."""


@dataclasses.dataclass
class Recording:
    """What a launch file declared and started."""

    arguments: list[DeclareLaunchArgument]
    nodes: list[Node]
    messages: list[str]
    processes: list[ExecuteProcess]


_ACTIONS = (DeclareLaunchArgument, ExecuteProcess, LogInfo, OpaqueFunction, Shutdown)


@contextmanager
def recorder(packages: Sequence[str] = ()) -> Iterator[None]:
    """Stand in for the launch packages while this lasts; `packages` are those that are installed."""

    def get_package_prefix(name: str) -> str:
        if name not in packages:
            raise PackageNotFoundError(name)
        return f"/opt/{name}"

    members: dict[str, dict[str, Any]] = {
        "launch": {"LaunchDescription": LaunchDescription, "LaunchContext": LaunchContext},
        "launch.actions": {kind.__name__: kind for kind in _ACTIONS},
        "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
        "launch_ros": {},
        "launch_ros.actions": {"Node": Node},
        "ament_index_python.packages": {
            "PackageNotFoundError": PackageNotFoundError, "get_package_prefix": get_package_prefix,
        },
    }  # fmt: skip
    before = {name: sys.modules.get(name) for name in members}
    for name, content in members.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def execute(path: Path, packages: Sequence[str] = (), **given: str) -> Recording:
    """Run a launch file with arguments; what it would have started."""
    with recorder(packages):
        context, recording = LaunchContext(given), Recording([], [], [], [])
        queue = list(runpy.run_path(str(path))["generate_launch_description"]().entities)
        while queue:
            entity = queue.pop(0)
            if isinstance(entity, DeclareLaunchArgument):
                recording.arguments.append(entity)
            elif isinstance(entity, Node):
                recording.nodes.append(entity)
            elif isinstance(entity, ExecuteProcess):
                recording.processes.append(entity)
            elif isinstance(entity, LogInfo):
                recording.messages.append(entity.msg)
            queue = entity.execute(context) + queue
    return recording
