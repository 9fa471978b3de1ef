"""Arguments of the launch files and of `meld launch`, and the launch description made from them and from graph.py.

Only `describe` needs the packages `launch` and `launch_ros`, which come with a ROS install and are imported there.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meld_core.config import Config, ConfigError, check_engine, check_trainable, did_you_mean
from meld_core.storage.run_folder import RunFolder, run_folder
from meld_ros.graph import LOG_LEVELS, Options, Process, render
from meld_ros.network import MACHINES, check_machine
from meld_ros.share import config_names, laid_over, overridden, resolve_config, share_dir

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

MODES = ("train", "eval", "robot")


@dataclasses.dataclass(frozen=True)
class Argument:
    """One `name:=value`."""

    name: str
    default: str
    description: str
    choices: Callable[[], Sequence[str]] | None = None
    modes: tuple[str, ...] = MODES


ARGUMENTS = (
    Argument("robot", "mujoco", "Robot: a file in config/robots.", lambda: config_names("robots")),
    Argument("task", "insertion", "Family of tasks: a file in config/tasks.", lambda: config_names("tasks")),
    Argument("config", "", "More settings: a file in config/ by name, or any YAML file by path."),
    Argument(
        "reset",
        "",
        "Who brings the arm to its start pose, the robot or a person; empty: as the settings say (robot.reset).",
        lambda: ("", "auto", "teleop"),
    ),
    Argument("run", "", "Name of the run: its folder is made under ./runs, or gone on with. Empty: a new name."),
    Argument("weights", "", "Weights file to evaluate; empty: the newest of the run.", modes=("eval",)),
    Argument(
        "machine",
        "all",
        "Nodes that run here: all, or on two machines those at the arm, and the trainer.",
        lambda: MACHINES,
        modes=("train",),
    ),
    Argument("peer", "", "Address of the other machine; empty: only this machine is heard.", modes=("train",)),
    Argument("namespace", "", "Namespace of every node and topic: one per robot."),
    Argument("use_sim_time", "false", "Whether the nodes take their time from /clock.", lambda: ("false", "true")),
    Argument(
        "rviz", "false", "Whether to publish what RViz shows, and to open it where it is.", lambda: ("false", "true")
    ),
    Argument("log_level", "info", "Least severe messages that nodes log.", lambda: LOG_LEVELS),
)


def arguments_of(mode: str) -> list[Argument]:
    """The arguments of a mode. Raises ConfigError on an unknown mode."""
    if mode not in MODES:
        raise ConfigError(f"there is nothing to launch called '{mode}'{did_you_mean(mode, MODES)}")
    return [argument for argument in ARGUMENTS if mode in argument.modes]


def parse_arguments(mode: str, given: Sequence[str]) -> dict[str, str]:
    """Values of every argument of a mode, from `name:=value` texts.

    Raises:
        ConfigError: on another form, an unknown name or a value that is not one of the choices.
    """
    known = {argument.name: argument for argument in arguments_of(mode)}
    values = {argument.name: argument.default for argument in known.values()}
    for text in given:
        name, assign, value = text.partition(":=")
        if not assign:
            raise ConfigError(f"'{text}' is not of the form name:=value")
        if name not in known:
            raise ConfigError(f"launch argument '{name}' is unknown{did_you_mean(name, known)}")
        values[name] = value
    for name, argument in known.items():
        choices = argument.choices() if argument.choices else (values[name],)
        if values[name] not in choices:
            raise ConfigError(
                f"launch argument {name}:={values[name]} is not possible{did_you_mean(values[name], choices)}"
            )
    return values


def new_run_name(mode: str) -> str:
    """A name by date and time, for a run to which nobody gave one."""
    return f"{mode}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def prepare(mode: str, values: Mapping[str, str]) -> tuple[Config, RunFolder, list[Process]]:
    """Resolve the config, make (or open) the run's folder, render the graph.

    Raises:
        ConfigError, RunError, StorageError: on what a person can mend.
    """
    check_machine(values.get("machine", "all"))
    folder = run_folder(values["run"] or new_run_name(mode))
    folder = RunFolder(folder.path.resolve())
    changes = [f"robot.reset={values['reset']}"] if values["reset"] else []
    if mode == "eval" and not values["weights"]:
        config = overridden(_of_run(folder, values), changes)
        check_engine(config)
    else:
        config = resolve_config(values["robot"], values["task"], values["config"], changes)
        if mode == "train":
            check_trainable(config)
        check_engine(config)
        folder.create(config, resume=True)
    options = Options(
        folder=folder.path,
        namespace=values["namespace"],
        use_sim_time=values["use_sim_time"] == "true",
        log_level=values["log_level"],
        viewing=values["rviz"] == "true",
        weights=str(Path(values["weights"]).resolve()) if values.get("weights") else "",
        machine=values.get("machine", "all"),
        peer=values.get("peer", ""),
    )
    return config, folder, render(mode, config, options)


def _of_run(folder: RunFolder, values: Mapping[str, str]) -> Config:
    """The run's own settings, and what a file says besides. Robot and task are the run's."""
    defaults = {argument.name: argument.default for argument in ARGUMENTS}
    for name in ("robot", "task"):
        if values[name] != defaults[name]:
            raise ConfigError(
                f"{name}:={values[name]} would change nothing: an evaluation has the {name} of its run; leave it out, "
                "or name weights:=FILE and a new run:= to evaluate elsewhere"
            )
    config = folder.open().read_config()
    return laid_over(config, values["config"]) if values["config"] else config


def describe(mode: str) -> LaunchDescription:
    """The launch description of a mode."""
    from launch import LaunchDescription
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    declared = []
    for argument in arguments_of(mode):
        choices = {"choices": list(argument.choices())} if argument.choices else {}
        declared.append(
            DeclareLaunchArgument(
                argument.name, default_value=argument.default, description=argument.description, **choices
            )
        )
    return LaunchDescription([*declared, OpaqueFunction(function=_nodes, kwargs={"mode": mode})])


def _nodes(context: LaunchContext, mode: str) -> list[LaunchDescriptionEntity]:
    """Settings come from files named by arguments, so the graph is rendered when the arguments are known."""
    from launch.substitutions import LaunchConfiguration

    values = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in arguments_of(mode)}
    _, folder, processes = prepare(mode, values)
    return [_log_info(f"run folder: {folder.path}"), *map(_node, processes), *_rviz(values)]


def _node(process: Process) -> Any:
    from launch.actions import Shutdown
    from launch_ros.actions import Node

    return Node(
        package="meld_ros",
        executable=process.executable,
        name=process.name,
        namespace=process.namespace,
        parameters=[str(process.parameter_file)],
        remappings=list(process.remappings),
        ros_arguments=list(process.ros_arguments),
        additional_env=dict(process.environment),
        output="both",
        sigterm_timeout=str(process.stop_timeout),
        on_exit=[Shutdown(reason=f"node '{process.name}' ended")],
    )


def _rviz(values: Mapping[str, str]) -> list[Any]:
    if values["rviz"] != "true":
        return []
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix
    from launch_ros.actions import Node

    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [_log_info("rviz2 is not installed: going on without it")]
    view = share_dir() / "config" / "rviz" / "meld.rviz"
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz",
            namespace=values["namespace"],
            arguments=["-d", str(view)],
            parameters=[{"use_sim_time": values["use_sim_time"] == "true"}],
        )
    ]


def _log_info(text: str) -> Any:
    from launch.actions import LogInfo

    return LogInfo(msg=text)
