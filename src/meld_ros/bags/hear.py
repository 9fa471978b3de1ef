"""A bag's messages as the nodes of a graph hear them: genuine messages, and the types of meld_core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rclpy.serialization import deserialize_message

from meld_core.announce import Announcement, GateReport
from meld_core.config import Config, ConfigError, from_mapping, load_config
from meld_core.driver import Label
from meld_core.exchange.rebuild import Named
from meld_core.exchange.recorded import Heard
from meld_core.storage.chunks import Assembler
from meld_core.storage.run_folder import RunFolder
from meld_core.weights import Weights
from meld_ros import conversions as ros
from meld_ros.bags import BagError
from meld_ros.bags.reader import Bag

HEARD = (ros.TASK, ros.GATE_STATE, ros.JOINT_STATES, ros.TOOL_POSE, ros.IMAGE, ros.REWARD, ros.RECORDED, ros.ACTION,
         ros.EXECUTED_ACTION, ros.TRIAL_EVENTS, ros.WEIGHTS, ros.TRIALS)  # fmt: skip


def messages(
    bag: Bag, topics: Sequence[ros.Topic], namespace: str | None = None
) -> Iterator[tuple[ros.Topic, int, Any]]:
    """Topic, time [ns] and message of everything on these topics, in one namespace or in all.

    Raises:
        BagError: where the bag or a message is damaged.
    """
    for topic, time, data in raw_messages(bag, topics, namespace):
        try:
            yield topic, time, message_of(topic, data)
        except ValueError as error:
            raise BagError(f"{bag.path}: {error}") from None


def message_of(topic: ros.Topic, data: bytes) -> Any:
    """The message that these bytes are. Raises ValueError where they are none."""
    try:
        return deserialize_message(data, topic.type)
    except Exception as error:  # the middleware's own errors
        raise ValueError(f"a message of {len(data)} bytes on {topic.name} is damaged: {error}") from None


def raw_messages(
    bag: Bag, topics: Sequence[ros.Topic], namespace: str | None
) -> Iterator[tuple[ros.Topic, int, bytes]]:
    """Topic, time [ns] and bytes."""
    known = {topic.name: topic for topic in topics}
    chosen: dict[str, ros.Topic] = {}
    for full in bag.topics:
        space, name = split_topic(full, known)
        if name in known and namespace in (None, space):
            chosen[full] = known[name]
    for full, time, data in bag.messages(list(chosen)):
        yield chosen[full], time, data


def split_topic(full: str, known: Sequence[str] | dict[str, Any]) -> tuple[str, str]:
    """'/left/trials/ack' → ('/left', 'trials/ack') for a known name; ('', full) for any other."""
    fits = [name for name in known if full.endswith(f"/{name}")]
    name = max(fits, key=len, default="")
    return (full[: -len(name) - 1], name) if name else ("", full)


def namespace_of(bag: Bag, given: str | None) -> str:
    """The namespace of the one graph in the bag.

    Raises:
        BagError: where there is none, or several and none was given.
    """
    spaces = sorted(split_topic(full, [ros.TASK.name])[0] for full in bag.topics if full.endswith(f"/{ros.TASK.name}"))
    if given is not None:
        wanted = f"/{given.strip('/')}" if given.strip("/") else ""
        if wanted not in spaces:
            raise BagError(f"{bag.path} holds no graph in namespace '{wanted or '/'}'; it has {_listed(spaces)}")
        return wanted
    if len(spaces) != 1:
        found = f"graphs in the namespaces {_listed(spaces)}; say which by --namespace" if spaces else "no topic `task`"
        raise BagError(f"{bag.path} holds {found}")
    return spaces[0]


def _listed(spaces: Sequence[str]) -> str:
    return ", ".join(space or "/" for space in spaces) or "none"


def config_of(bag: Bag, folder: RunFolder | None, namespace: str) -> Config:
    """The settings of the run that was recorded: of a run's folder, beside the bag, or in its first weights.

    Raises:
        ConfigError: where there are none.
    """
    if folder is not None:
        return folder.read_config()
    if bag.config is not None:
        return load_config([bag.config])
    assembler = Assembler()
    for _, _, msg in messages(bag, (ros.WEIGHTS,), namespace):
        data = _whole(assembler, msg)
        if data is not None:
            return from_mapping(Config, Weights.from_bytes(data).config)
    raise ConfigError(f"{bag.path} does not hold the settings of its run; name the run: --run NAME")


class Hearing:
    """Converts the messages of a bag as the policy does; what cannot be read is counted.

    Args:
        bag: Open.
        config: Of the run.
        namespace: Of the graph.
        whole_weights: Give weights as a whole, not only what names them.
    """

    def __init__(self, bag: Bag, config: Config, namespace: str, *, whole_weights: bool = False) -> None:
        self._bag, self._namespace, self._whole_weights = bag, namespace, whole_weights
        self._scale = ros.ActionScale(config.robot.step_size, config.robot.control_period)
        self._image_size = (len(config.sim.views) * config.sim.image_size, config.sim.image_size)
        self._weights, self._trials = Assembler(), Assembler()
        self.messages = 0
        self.unreadable: dict[str, str] = {}
        """Topic → why the last of its unreadable messages could not be read."""
        self._decode: dict[str, Callable[[Any], Any]] = {
            ros.TASK.name: lambda msg: Announcement.from_json(msg.data),
            ros.GATE_STATE.name: lambda msg: GateReport.from_json(msg.data),
            ros.JOINT_STATES.name: ros.joints_from_msg,
            ros.TOOL_POSE.name: ros.pose_from_msg,
            ros.IMAGE.name: lambda msg: ros.image_from_msg(msg, self._image_size).pixels,
            ros.REWARD.name: ros.reward_from_msg,
            ros.RECORDED.name: ros.scalars_from_msg,
            ros.ACTION.name: self._scale.from_msg,
            ros.EXECUTED_ACTION.name: self._scale.from_msg,
            ros.TRIAL_EVENTS.name: ros.json_from_msg,
            ros.WEIGHTS.name: self._label,
            ros.TRIALS.name: lambda msg: _whole(self._trials, msg),
        }

    def __iter__(self) -> Iterator[Heard]:
        """Everything, in order of time."""
        for topic, time, data in raw_messages(self._bag, HEARD, self._namespace):
            self.messages += 1
            try:
                msg = message_of(topic, data)
                value = self._decode[topic.name](msg)
            except ValueError as error:
                self.unreadable[topic.name] = str(error)
                continue
            if value is not None:
                yield Heard(topic.name, time, ros.stamp_of(msg.header) if hasattr(msg, "header") else 0, value)

    def _label(self, msg: Any) -> Label | None:
        data = _whole(self._weights, msg)
        if data is None:
            return None
        weights = Weights.from_bytes(data)
        named = Named(weights.version, weights.trained_through_trial, weights.run, weights.digest)
        return weights if self._whole_weights else named


def _whole(assembler: Assembler, msg: Any) -> bytes | None:
    return assembler.add(ros.bytes_from_msg(msg))
