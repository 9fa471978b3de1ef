"""Findings about what is measured: pictures, joints, rewards, and the clocks that stamped them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from meld_core.config import CameraConfig, Config
from meld_core.doctor.graph_checks import mismatch
from meld_core.doctor.snapshot import Finding, Heard, Joints, Picture, Snapshot, TopicSeen
from meld_core.sim.arm import JOINT_NAMES, arm_limits

_SENTENCES = (
    ("is frozen", "camera.frozen", "unplug it and plug it in again; another cable or hub often helps"),
    ("swapped", "camera.identity", "exchange the devices of the cameras, or save a new reference picture"),
    ("does not see what", "camera.identity", "turn the camera back, or save a new reference picture"),
    ("gives pictures of", "camera.size", "set width and height to what the device gives"),
    ("after its stamp", "clock.offset", "synchronise the clock of the camera's computer (chrony)"),
    ("do not go forward", "clock.offset", "synchronise the clock of the camera's computer (chrony)"),
)
"""Part of what camera_node says → which finding that is, and what would do."""
_CAMERAS = ("camera", "wrist_camera", "detector_camera")
_FUTURE = 0.05
"""A stamp this far in the future is another clock's [s]."""
_OVEREXPOSED = 250.0
_JUMP_SHARE = 1.5
"""Measured joints may be this much faster than the motors' limit before they cannot be believed."""


def check_cameras(seen: Snapshot) -> Iterator[Finding]:
    """Whether pictures come, are new, of the right size, and what they should show."""
    if seen.config is None:
        return
    status = seen.statuses.get("camera")
    yield from _exposure(seen.config, seen)
    if status is not None and status.level == "error":
        yield _as_camera_says(status.message)
    elif status is None and "camera" in seen.expected and seen.runs:
        return  # it is silent, which is told already
    elif seen.behind_driver:
        yield from _pictures(seen, seen.config)


def _as_camera_says(message: str) -> Finding:
    for part, name, remedy in _SENTENCES:
        if part in message:
            return Finding(name, "error", message, remedy, "camera.device")
    return Finding("camera.silent", "error", message, "look at cable and driver (`meld camera list`)", "camera.device")


def _exposure(config: Config, seen: Snapshot) -> Iterator[Finding]:
    status = seen.statuses.get("camera")
    for name in _CAMERAS:
        settings: CameraConfig = getattr(config, name)
        told = "" if status is None else status.values.get(f"{name} exposure", "")
        if settings.lock and told.startswith("automatic"):
            found = f"the exposure of {name} is {told}: brightness, and so rewards, will wander"
            yield Finding("camera.exposure", "warning", found, "a camera with manual exposure, or steady light", name)


def _pictures(seen: Snapshot, config: Config) -> Iterator[Finding]:
    view = seen.topic("image")
    if not view.heard:
        if not _cannot_match(view):
            source = "publishes, but nothing came" if view.publishers else "publishes it"
            found = f"no picture came on {config.driver.image} in {seen.watched:.0f} s; {_who(view)} {source}"
            remedy = "start the camera: set camera.device, or start a driver that publishes there"
            yield Finding("camera.silent", "error", found, remedy, "camera.device, driver.image")
        return
    yield from _offset(view, config.driver.image, config.gate.max_age, "driver.image")
    yield from _slow(view, config.driver.image, 1.0 / config.robot.control_period, "camera.rate")
    yield from _frozen(view, config)
    yield from _size(view, config)
    yield from _light(seen.topic("detector_image"), config)


def _who(topic: TopicSeen) -> str:
    return ", ".join(sorted({end.node for end in topic.publishers})) or "nobody"


def _cannot_match(topic: TopicSeen) -> bool:
    return any(mismatch(one, other) for one in topic.publishers for other in topic.subscribers)


def _offset(topic: TopicSeen, name: str, oldest: float, where: str) -> Iterator[Finding]:
    behind = topic.behind
    moves = len({heard.stamp for heard in topic.heard}) > 1
    if moves and (behind > oldest or behind < -_FUTURE):
        way = f"{behind:.2f} s old when they come" if behind > 0 else f"{-behind:.2f} s in the future"
        found = f"messages on {name} are {way}, and go on at {topic.rate:.0f} Hz: another clock stamps them"
        remedy = "synchronise the computers' clocks (chrony), or start all with the same use_sim_time"
        yield Finding("clock.offset", "error", found, remedy, where)


def _slow(topic: TopicSeen, name: str, least: float, where: str) -> Iterator[Finding]:
    if topic.rate and topic.rate < 0.9 * least:
        found = f"{name} comes at {topic.rate:.1f} Hz, at least {least:.0f} Hz is needed"
        yield Finding(
            f"{where.partition('.')[0]}.slow", "error", found, "raise its rate, or lengthen the period", where
        )


def _frozen(topic: TopicSeen, config: Config) -> Iterator[Finding]:
    pictures = [(heard.at, heard.value) for heard in topic.heard if isinstance(heard.value, Picture)]
    same = list(itertools.takewhile(lambda p: p[1].digest == pictures[-1][1].digest, reversed(pictures)))
    lasted = same[0][0] - same[-1][0] if same else 0.0
    camera = config.camera
    if camera.frozen_time > 0 and len(same) >= camera.frozen_after and lasted >= camera.frozen_time:
        found = f"the last {len(same)} pictures on {config.driver.image} are equal, over {lasted:.1f} s"
        remedy = "start the camera again; where it has no noise (a simulation): camera.frozen_time=0"
        yield Finding("camera.frozen", "error", found, remedy, "camera.frozen_time")


def _size(topic: TopicSeen, config: Config) -> Iterator[Finding]:
    picture: Picture = topic.heard[-1].value
    size = config.sim.image_size
    expected = (size, size * len(config.sim.views))
    if picture.problem:
        yield Finding("camera.encoding", "error", picture.problem, "let the driver publish rgb8", config.driver.image)
    elif (picture.width, picture.height) != expected:
        found = (
            f"pictures on {config.driver.image} have {picture.width}x{picture.height} px, the policy wants "
            f"{expected[0]}x{expected[1]} (one view below the other)"
        )
        yield Finding(
            "camera.size", "error", found, "let camera_node crop it: camera.device=topic:NAME", "sim.image_size"
        )


def _light(topic: TopicSeen, config: Config) -> Iterator[Finding]:
    levels = [heard.value.brightness for heard in topic.heard if isinstance(heard.value, Picture)]
    if not levels:
        return
    level = float(np.mean(levels))
    if level < config.reward.min_brightness or level > _OVEREXPOSED:
        what = "dark" if level < _OVEREXPOSED else "overexposed"
        found = f"the detector's view is {what}: {level:.0f} of 255 on average"
        yield Finding(
            "camera.light", "error", found, "mend light or exposure", "reward.min_brightness, camera.exposure"
        )


def check_joints(seen: Snapshot) -> Iterator[Finding]:
    """Whether the driver tells its joints: all of them, in time, and such as can be."""
    if seen.config is None or not seen.behind_driver:
        return
    name, topic = seen.config.driver.joint_states, seen.topic("driver.joint_states")
    if not topic.heard:
        if not _cannot_match(topic):
            found = f"no joint states came on {name} in {seen.watched:.0f} s; {_who(topic)} publishes there"
            yield Finding(
                "joints.silent", "error", found, "start the arm's driver, or name its topic", "driver.joint_states"
            )
        return
    if missing := [joint for joint in JOINT_NAMES if joint not in topic.heard[-1].value.names]:
        has = ", ".join(topic.heard[-1].value.names) or "none"
        found = f"joint states on {name} lack {', '.join(missing)}; they have {has}"
        yield Finding(
            "joints.names", "error", found, "name the joints like Interbotix's URDF does", "driver.joint_states"
        )
        return
    yield from _stale(topic, name, seen)
    yield from _slow(topic, name, 0.5 / seen.config.driver.state_match, "joints.rate")
    yield from _implausible(topic.heard, name, seen.config)


def _stale(topic: TopicSeen, name: str, seen: Snapshot) -> Iterator[Finding]:
    assert seen.config is not None
    if len(topic.heard) > 2 and len({heard.stamp for heard in topic.heard[-len(topic.heard) // 2 :]}) == 1:
        found = f"joint states on {name} come at {topic.rate:.0f} Hz with one and the same stamp"
        yield Finding("joints.stale", "error", found, "start the driver again: it repeats an old state", name)
    else:
        yield from _offset(topic, name, seen.config.driver.stale_after, "driver.joint_states")


def _implausible(heard: Sequence[Heard], name: str, config: Config) -> Iterator[Finding]:
    limits = arm_limits(config)
    samples = [(h.at, _ordered(h.value)) for h in heard]
    for at, joints in samples:
        wrong = ~np.isfinite(joints) | (joints < limits.joint_lower - 0.1) | (joints > limits.joint_upper + 0.1)
        if wrong.any():
            joint = int(wrong.argmax())
            found = f"{name} tells {joints[joint]:.2f} rad of joint '{JOINT_NAMES[joint]}', which it cannot reach"
            remedy = "look at the driver's log (a failed bus read?) and at the arm's calibration"
            yield Finding("joints.implausible", "error", found, remedy, name)
            return
        del at
    for (before, one), (after, other) in itertools.pairwise(samples):
        allowed = config.gate.max_joint_jump + _JUMP_SHARE * limits.joint_velocity * (after - before)
        if (np.abs(other - one) > allowed).any():
            joint = int((np.abs(other - one) - allowed).argmax())
            found = (
                f"{name}: joint '{JOINT_NAMES[joint]}' jumps by {abs(other - one)[joint]:.2f} rad between two states"
            )
            yield Finding("joints.implausible", "error", found, "look at the driver's log (a failed bus read?)", name)
            return


def _ordered(value: Joints) -> np.ndarray:
    """(6,) in the order of our joints."""
    if len(value.positions) != len(value.names):
        return np.full(len(JOINT_NAMES), np.nan)
    return np.array([value.positions[value.names.index(joint)] for joint in JOINT_NAMES])


def check_reward(seen: Snapshot) -> Iterator[Finding]:
    """Whether pictures are judged."""
    if seen.config is None or "reward" not in seen.statuses:
        return
    view, reward = seen.topic("detector_image"), seen.topic("reward")
    status = seen.statuses["reward"]
    if view.heard and not reward.heard and not _cannot_match(view) and seen.config.reward.kind != "pose":
        found = f"{len(view.heard)} detector pictures came, and reward_node judged none ({status.message})"
        yield Finding("reward.silent", "error", found, "see its log; is its region inside the view?", "reward.*")
    elif len(reward.heard) > 2 and not any(h.value.get("valid") == 1.0 for h in reward.heard) and _bright(seen):
        found = f"none of the last {len(reward.heard)} pictures could be judged ({status.message})"
        yield Finding(
            "reward.invalid", "error", found, "mend what it says", "reward.stale_after, reward.min_brightness"
        )
    elif status.level == "warn" and "drift" in status.message:
        yield Finding(
            "reward.drift", "warning", status.message, "score the detector again (docs/REWARDS.md)", "reward.drift"
        )


def _bright(seen: Snapshot) -> bool:
    """Whether darkness or late stamps, which have findings of their own, are not the reason."""
    assert seen.config is not None
    dark = next(_light(seen.topic("detector_image"), seen.config), None)
    return dark is None and seen.topic("image").behind <= seen.config.reward.stale_after


CHECKS = (check_cameras, check_joints, check_reward)
