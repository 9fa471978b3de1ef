"""Messages ↔ types of meld_core: the messages and topics of which steps are made.

Numbers survive exactly: an action crosses as a velocity in float64 and comes back as the same float32.
"""

from __future__ import annotations

import array
import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool, String, UInt8MultiArray
from std_srvs.srv import Trigger

from meld_core.json_text import parse_object
from meld_core.types import Frame, Reward
from meld_ros.images import array_to_image, pixels_of
from meld_ros.qos import ACK_QOS, BULK_QOS, LATCHED_BULK_QOS, LATCHED_QOS, STEP_QOS, keep, remembered

BASE_FRAME = "base_link"
NANOSECONDS = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class Topic:
    """A name with its message type and QoS."""

    name: str
    type: type
    qos: QoSProfile


CLOCK = Topic("clock", Clock, STEP_QOS)
JOINT_STATES = Topic("joint_states", JointState, STEP_QOS)
TOOL_POSE = Topic("tool_pose", PoseStamped, STEP_QOS)
IMAGE = Topic("image", Image, STEP_QOS)
DETECTOR_IMAGE = Topic("detector_image", Image, STEP_QOS)
CAMERA_INFO = Topic("camera_info", CameraInfo, STEP_QOS)
"""Published under the name of each calibrated camera."""
LABEL = Topic("label", String, keep(10))
"""A person's word on what the detector sees now: `success` or `failure`."""
TRUTH = Topic("truth", JointState, STEP_QOS)
RECORDED = TRUTH
"""What policy_node records without looking at it."""
REWARD = Topic("reward", JointState, STEP_QOS)
ACTION = Topic("action", TwistStamped, STEP_QOS)
EXECUTED_ACTION = Topic("executed_action", TwistStamped, STEP_QOS)
TASK = Topic("task", String, LATCHED_QOS)
GATE_STATE = Topic("gate_state", String, LATCHED_QOS)
TRIALS = Topic("trials", UInt8MultiArray, BULK_QOS)
TRIALS_ACK = Topic("trials/ack", String, ACK_QOS)
TRIAL_EVENTS = Topic("trial_events", String, keep(100, latched=True))
WEIGHTS = Topic("weights", UInt8MultiArray, LATCHED_BULK_QOS)
DIAGNOSTICS = Topic("/diagnostics", DiagnosticArray, keep(10))
STOP_BUTTON = Topic("stop_button", Bool, keep(1))
"""True: pressed. A button that is required (`gate.button_timeout`) says so again and again."""
TELEOP_ACTION = Topic("teleop/action", TwistStamped, STEP_QOS)
"""As `action`, by a person's client, in TELEOP only. The same stamp again is a sign of life."""
TELEOP_LET_GO = Topic("teleop/let_go", String, keep(10))
"""A person's client commands no more, for now; with a reason: it has lost its person."""
RESET, STOP, CLEAR_STOP = "reset", "stop", "clear_stop"
"""Services of robot_node, std_srvs/Trigger."""
START_RESET, RESET_DONE, HOME, PARK, NEXT_TASK = "start_reset", "reset_done", "home", "park", "next_task"
"""A person's requests to robot_node: take the arm, give it back, send it to its start or rest pose, go on."""
SERVICE = Trigger

# In lockstep the robot says which parts a step has; these names are the topics'.
STEP_TOPICS = {topic.name: topic for topic in (JOINT_STATES, TOOL_POSE, IMAGE, DETECTOR_IMAGE, TRUTH)}


def publisher(node: Node, topic: Topic, qos: QoSProfile | None = None) -> Publisher[Any]:
    """A publisher of a topic. It remembers more than subscribers ask for: a busy one asks again for what it lost."""
    return node.create_publisher(topic.type, topic.name, remembered(qos or topic.qos))


def subscription(
    node: Node,
    topic: Topic,
    callback: Callable[..., None],
    qos: QoSProfile | None = None,
    events: SubscriptionEventCallbacks | None = None,
) -> Subscription[Any]:
    """A subscription of a topic; latched topics need the latched QoS that is theirs on both sides."""
    return node.create_subscription(topic.type, topic.name, callback, qos or topic.qos, event_callbacks=events)


def timed(callback: Callable[[Any, int], None]) -> Callable[..., None]:
    """A callback of a subscription that also gets when the message was published [ns, the sender's system clock]."""

    def on_message(*given: Any) -> None:
        msg, info = given if len(given) == 2 else given[0]  # Kilted's EventsExecutor gives the pair as one
        callback(msg, int(info["source_timestamp"]))

    both = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("msg", "info")]
    on_message.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]
    return on_message


def on_alive(heard: Callable[[int], object]) -> SubscriptionEventCallbacks:
    """Events of a subscription whose topic has a lease: calls `heard` with the number of publishers that are alive."""

    def on_change(info: Any) -> None:
        heard(info.alive_count)

    return SubscriptionEventCallbacks(liveliness=on_change)


def set_stamp(header: Any, stamp: int) -> None:
    """Write a stamp [ns] into a message's header."""
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, NANOSECONDS)


def stamp_of(header: Any) -> int:
    """Stamp of a message's header [ns]."""
    return int(header.stamp.sec) * NANOSECONDS + int(header.stamp.nanosec)


def clock_to_msg(stamp: int) -> Clock:
    """Simulated time [ns] for /clock."""
    msg = Clock()
    msg.clock.sec, msg.clock.nanosec = divmod(stamp, NANOSECONDS)
    return msg


def image_to_msg(frame: Frame) -> Image:
    """A picture as rgb8."""
    msg = array_to_image(frame.pixels, "rgb8")
    msg.header.frame_id = frame.frame_id
    set_stamp(msg.header, frame.stamp)
    return msg


def image_from_msg(msg: Image, size: tuple[int, int] | None = None) -> Frame:
    """A picture of any colour or grey encoding.

    Args:
        msg: The message.
        size: Height and width that it must have, None for any.

    Raises:
        ValueError: on another encoding or size, or too few bytes.
    """
    if size is not None and (msg.height, msg.width) != size:
        raise ValueError(f"an image of {msg.width}x{msg.height} came, expected {size[1]}x{size[0]} (width x height)")
    return Frame(pixels_of(msg), stamp_of(msg.header), msg.header.frame_id)


def joints_to_msg(names: tuple[str, ...], joints: np.ndarray, velocities: np.ndarray, stamp: int) -> JointState:
    """Joint positions [rad] and velocities [rad/s]."""
    msg = JointState(name=list(names), position=joints.tolist(), velocity=velocities.tolist())
    set_stamp(msg.header, stamp)
    return msg


def joints_from_msg(msg: JointState) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities, (J,) float64 each, in the order of the message.

    Raises:
        ValueError: where a joint lacks its position or velocity.
    """
    joints, velocities = np.array(msg.position, np.float64), np.array(msg.velocity, np.float64)
    if not len(msg.name) == len(joints) == len(velocities) > 0:
        raise ValueError(f"{len(msg.name)} joints came with {len(joints)} positions and {len(velocities)} velocities")
    return joints, velocities


def pose_to_msg(position: np.ndarray, orientation: np.ndarray, stamp: int) -> PoseStamped:
    """Tool position (3,) [m] and quaternion x, y, z, w in base_link."""
    msg = PoseStamped()
    msg.header.frame_id = BASE_FRAME
    set_stamp(msg.header, stamp)
    point, quaternion = msg.pose.position, msg.pose.orientation
    point.x, point.y, point.z = position.tolist()
    quaternion.x, quaternion.y, quaternion.z, quaternion.w = orientation.tolist()
    return msg


def pose_from_msg(msg: PoseStamped) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `pose_to_msg`: position and quaternion. Raises ValueError on another frame."""
    _check_frame(msg.header.frame_id)
    point, quaternion = msg.pose.position, msg.pose.orientation
    orientation = np.array([quaternion.x, quaternion.y, quaternion.z, quaternion.w])
    return np.array([point.x, point.y, point.z]), orientation


def _check_frame(frame: str) -> None:
    if frame != BASE_FRAME:
        raise ValueError(f"coordinates in frame '{frame}' came, expected {BASE_FRAME}")


def scalars_to_msg(values: Mapping[str, float], stamp: int) -> JointState:
    """Named numbers with one stamp; no standard message says this better."""
    msg = JointState(name=list(values), position=[float(value) for value in values.values()])
    set_stamp(msg.header, stamp)
    return msg


def scalars_from_msg(msg: JointState) -> dict[str, float]:
    """Inverse of `scalars_to_msg`. Raises ValueError on doubled names or another number of values."""
    if len(set(msg.name)) != len(msg.position) or len(msg.name) != len(msg.position):
        raise ValueError(f"{len(msg.name)} names came with {len(msg.position)} values: {list(msg.name)[:8]}")
    return dict(zip(msg.name, msg.position, strict=True))


def reward_to_msg(reward: Reward, stamp: int) -> JointState:
    """A judgement of the picture with this stamp; `valid` 0 makes the others NaN."""
    values = {"reward": reward.reward, "success": float(reward.success), "probability": reward.probability}
    if not reward.valid:
        values = dict.fromkeys(values, float("nan"))
    return scalars_to_msg({**values, "valid": float(reward.valid)}, stamp)


def reward_from_msg(msg: JointState) -> Reward:
    """Inverse of `reward_to_msg`, by name. Raises ValueError where a name is missing or a valid reward is no number."""
    values = scalars_from_msg(msg)
    if missing := {"reward", "success", "probability", "valid"} - values.keys():
        raise ValueError(f"a reward lacks {sorted(missing)}, it has {sorted(values)}")
    if values["valid"] != 1.0:
        return Reward.missing()
    if not np.isfinite([values["reward"], values["success"], values["probability"]]).all():
        raise ValueError(f"a valid reward holds numbers that are not finite: {values}")
    return Reward(values["reward"], values["success"] > 0.5, values["probability"])


@dataclasses.dataclass(frozen=True)
class ActionScale:
    """What an action of 1 means on the wire: one step per control period."""

    step_size: float
    """[m]."""
    control_period: float
    """[s]."""

    def to_msg(self, action: np.ndarray, stamp: int) -> TwistStamped:
        """Action (3,) float32 as a velocity [m/s] in base_link."""
        msg = TwistStamped()
        msg.header.frame_id = BASE_FRAME
        set_stamp(msg.header, stamp)
        velocity = np.asarray(action, np.float64) * self.step_size / self.control_period
        msg.twist.linear.x, msg.twist.linear.y, msg.twist.linear.z = velocity.tolist()
        return msg

    def from_msg(self, msg: TwistStamped) -> np.ndarray:
        """Inverse of `to_msg`, bit for bit: (3,) float32. Raises ValueError on another frame or a rotation."""
        _check_frame(msg.header.frame_id)
        linear, angular = msg.twist.linear, msg.twist.angular
        if (angular.x, angular.y, angular.z) != (0.0, 0.0, 0.0):
            raise ValueError("a command with a rotation came, expected a displacement only")
        velocity = np.array([linear.x, linear.y, linear.z])
        with np.errstate(over="ignore"):  # the gate clamps what is too large for float32
            return (velocity * self.control_period / self.step_size).astype(np.float32)


def bytes_to_msg(data: bytes) -> UInt8MultiArray:
    """Bytes as they are; an `array` passes rclpy's checks without a loop over its elements."""
    return UInt8MultiArray(data=array.array("B", data))


def bytes_from_msg(msg: UInt8MultiArray) -> bytes:
    """Inverse of `bytes_to_msg`."""
    return bytes(msg.data)


def json_to_msg(values: Mapping[str, Any]) -> String:
    """Named values as one line of JSON."""
    return String(data=json.dumps(values, sort_keys=True))


def json_from_msg(msg: String) -> dict[str, Any]:
    """Inverse of `json_to_msg`. Raises ValueError where it is none."""
    try:
        return parse_object(msg.data)
    except ValueError as error:
        raise ValueError(f"a message is {error}: {msg.data[:80]!a}") from None
