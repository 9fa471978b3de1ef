"""How every node starts, reads its parameters and ends."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from meld_core.config import Config, ConfigError, Section, did_you_mean, flatten, from_mapping, to_mapping
from meld_core.garbage import keep_collections_short
from meld_core.stop_signals import set_on

_ROS_OWN = ("use_sim_time", "start_type_description_service", "qos_overrides.")
USAGE_ERROR = 2
_SIGNAL_LATENCY = 0.2
"""A waiting node looks this often whether it was told to stop [s]."""
S = TypeVar("S", bound=Section)


class MeldNode(Protocol):
    """What run_node needs besides rclpy's Node."""

    finished: bool
    """True ends the process with exit code 0."""

    def close(self) -> None:
        """Let go of devices and files; called once, also after a failure."""


def run_node(
    make: Callable[[], Any], args: Sequence[str] | None = None, serve: Callable[[Any], None] | None = None
) -> None:
    """Run one node until it is finished or told to stop, and exit.

    The exit code is 0 after SIGINT, SIGTERM or the node's own end; 2, with one sentence, where a setting, a file or a
    device that a person gave it cannot be used.

    Args:
        make: Makes the node.
        args: Command line; None for the process's own.
        serve: What the main thread does; by default `spin`.
    """
    logging.basicConfig(level=logging.WARNING, format="[%(levelname)s] %(message)s")
    sys.exit(_run(make, args, serve or spin))


def _run(make: Callable[[], Any], args: Sequence[str] | None, serve: Callable[[Any], None]) -> int:
    set_on(STOPPING, signal.SIGINT, signal.SIGTERM)
    try:  # our own handlers: with rclpy's the context is gone before a node can say its last word
        rclpy.init(args=list(args) if args is not None else None, signal_handler_options=SignalHandlerOptions.NO)
        node = make()
        keep_collections_short()
    except (ValueError, RuntimeError) as error:
        return _say(error)
    try:
        serve(node)
    except (ValueError, RuntimeError) as error:
        if not is_for_people(error):
            raise
        return _say(error)
    finally:
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


STOPPING = threading.Event()
"""Set by SIGINT and SIGTERM."""


def spin(node: Any) -> None:
    """Serve a node's callbacks, one at a time, until it is finished or the process is told to stop."""
    _serve(node, SingleThreadedExecutor())


def spin_fast(node: Any) -> None:
    """The same by Kilted's EventsExecutor, where there is one: it takes a third of the time per message.

    Not for nodes with guard conditions, which it does not serve, nor for those whose first duty is to stop an arm.
    """
    experimental: Any = importlib.import_module("rclpy.experimental") if _has_events_executor() else None
    _serve(node, experimental.EventsExecutor()) if experimental else spin(node)


def _has_events_executor() -> bool:
    return importlib.util.find_spec("rclpy.experimental") is not None  # not before Kilted


def _serve(node: Any, executor: Any) -> None:
    executor.add_node(node)
    while rclpy.ok() and not node.finished and not STOPPING.is_set():
        executor.spin_once(timeout_sec=_SIGNAL_LATENCY)
    executor.shutdown()


class Background:
    """Serves a node's callbacks in a thread of its own, from `start` to `close`.

    The executor is shut down only after its thread has left it: rclpy does not bear the other order.
    """

    def __init__(self, node: Node, name: str) -> None:
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            while not self._closing.is_set():
                self._executor.spin_once(timeout_sec=_SIGNAL_LATENCY)

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._executor.shutdown()


def is_for_people(error: Exception) -> bool:
    """Whether an error's text is a sentence of ours, not a fault of the program: our own subclasses say so."""
    return type(error).__module__.startswith(("meld_core", "meld_ros"))


def _say(error: Exception) -> int:
    """One sentence on stderr; the line is marked for supervisors that show errors only."""
    print(f"[ERROR] {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return USAGE_ERROR


def read_config(node: Node, sections: Sequence[str]) -> Config:
    """Read groups of settings from the node's parameters `group.name`; groups not named keep their defaults.

    Every setting of these groups is declared with its meaning, unit and range, so that `ros2 param describe` shows it.

    Raises:
        ConfigError: on a wrong type or a value outside its range.
    """
    nested: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for name, parameter in _given(node).items():
        section, dot, setting = name.partition(".")
        if dot and section in nested:
            nested[section][setting] = parameter
    config = from_mapping(Config, nested)
    for section in sections:
        _declare(node, f"{section}.", getattr(config, section))
    return config


def read_own(node: Node, cls: type[S]) -> S:
    """Read the node's parameters besides the config's, by their plain names. Raises ConfigError as `read_config`."""
    known = {field.name for field in dataclasses.fields(cls)}
    own = from_mapping(cls, {name: value for name, value in _given(node).items() if name in known})
    _declare(node, "", own)
    return own


def refuse_unknown(node: Node) -> None:
    """Raise ConfigError on a given parameter that nobody declared: plain ROS ignores a misspelt one."""
    known = [name for name in node._parameters if not name.startswith(_ROS_OWN)]
    for name in _given(node):
        if not node.has_parameter(name):
            raise ConfigError(f"node '{node.get_name()}' has no parameter '{name}'{_nearest(name, known)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    """The known names are many: list only those of the same group."""
    group = name.partition(".")[0]
    hint = did_you_mean(name, known)
    near = [other for other in known if other.startswith(f"{group}.")]
    return hint if "did you mean" in hint else did_you_mean(name, near or known)


def _given(node: Node) -> Mapping[str, Any]:
    """Values from the command line and parameter files."""
    overrides = node._parameter_overrides  # rclpy has no public way to see what was given but not declared
    return {
        name: list(parameter.value) if isinstance(parameter.value, Sequence) and not isinstance(parameter.value, str)
        else parameter.value
        for name, parameter in overrides.items()
        if not name.startswith(_ROS_OWN)
    }  # fmt: skip


def _declare(node: Node, prefix: str, section: Section) -> None:
    values = flatten(to_mapping(section))
    for field in dataclasses.fields(section):
        descriptor = describe(field)
        node.declare_parameter(f"{prefix}{field.name}", values[field.name], descriptor, ignore_override=True)


def describe(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    """Meaning, unit and range of a setting. Settings are read once: a later change is refused."""
    about = field.metadata
    unit = f" [{about['unit']}]" if about["unit"] else ""
    descriptor = ParameterDescriptor(description=f"{about['doc']}{unit}", read_only=True)
    if about["choices"]:
        descriptor.additional_constraints = f"one of {', '.join(about['choices'])}"
    low, high = about["low"], about["high"]
    if low is None and high is None:
        return descriptor
    if isinstance(field.default, float):
        limits = FloatingPointRange(
            from_value=float("-inf" if low is None else low), to_value=float("inf" if high is None else high)
        )
        descriptor.floating_point_range = [limits]
    elif isinstance(field.default, int):
        top = 2**63 - 1
        limits = IntegerRange(
            from_value=int(-top if low is None else low), to_value=int(top if high is None else high), step=0
        )
        descriptor.integer_range = [limits]
    else:
        descriptor.additional_constraints = f"each in [{low}, {high}]"
    return descriptor
