"""Labelled pictures out of a bag (MCAP or sqlite3), by a person's `label` or a simulation's own word."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from meld_core.detectors.labels import LabelError, Labels, make_labels
from meld_ros.images import pixels_of

_IMAGE, _LABEL, _REWARD = "detector_image", "label", "truth"


def labels_of_bag(path: Path, condition: str) -> Labels:
    """Each picture with the label in force: the last `label` before it, or the simulator's `success` at its stamp.

    Raises:
        LabelError: where the bag cannot be read, or holds no pictures with labels.
    """
    try:
        reader = importlib.import_module("rosbags.highlevel").AnyReader
    except ImportError:
        raise LabelError("reading bags needs the package rosbags: pip install rosbags") from None
    try:
        with reader([path]) as bag:
            messages = [(c.topic.rpartition("/")[2], bag.deserialize(raw, c.msgtype)) for c, _, raw in bag.messages()]
    except Exception as error:  # rosbags has no common error for what it cannot read
        raise LabelError(f"{path} is no bag that can be read: {error}") from None
    said = {_stamp(msg): bool(_named(msg, "success")) for topic, msg in messages if topic == _REWARD}
    pictures: list[np.ndarray] = []
    success: list[bool] = []
    groups: list[int] = []
    word: bool | None = None
    for topic, msg in messages:
        if topic == _LABEL and msg.data in ("success", "failure"):
            word = msg.data == "success"
        shown = said.get(_stamp(msg), word) if topic == _IMAGE else None
        if shown is not None:
            groups.append((groups[-1] + int(shown != success[-1])) if success else 0)
            pictures.append(pixels_of(msg))
            success.append(shown)
    if not pictures:
        raise LabelError(f"{path} holds no {_IMAGE} after a {_LABEL}, nor with the stamp of a {_REWARD}")
    return make_labels(pictures, success, groups, condition, "simulator" if said else "person")


def _stamp(msg: Any) -> int:
    return int(msg.header.stamp.sec) * 10**9 + int(msg.header.stamp.nanosec)


def _named(msg: Any, name: str) -> float:
    return float(msg.position[list(msg.name).index(name)])
