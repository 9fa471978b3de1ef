"""Labelled pictures out of a bag (MCAP or sqlite3), by a person's `label` or a simulation's own word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from meld_core.detectors.labels import LabelError, Labels, make_labels
from meld_ros import conversions as ros
from meld_ros.bags import BagError
from meld_ros.bags.hear import messages
from meld_ros.bags.reader import open_bag
from meld_ros.images import pixels_of

_IMAGE, _LABEL, _REWARD = "detector_image", "label", "truth"


def labels_of_bag(path: Path, condition: str) -> Labels:
    """Each picture with the label in force: the last `label` before it, or the simulator's `success` at its stamp.

    Raises:
        LabelError: where the bag cannot be read, or holds no pictures with labels.
    """
    try:
        said_and_seen = list(_messages(path))
    except BagError as error:
        raise LabelError(str(error)) from None
    said = {_stamp(msg): bool(_named(msg, "success")) for topic, msg in said_and_seen if topic == _REWARD}
    pictures: list[np.ndarray] = []
    success: list[bool] = []
    groups: list[int] = []
    word: bool | None = None
    for topic, msg in said_and_seen:
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


def _messages(path: Path) -> Iterator[tuple[str, Any]]:
    """Name and message of what labels are made from, in whatever namespaces."""
    with open_bag(path) as bag:
        for topic, _, msg in messages(bag, (ros.DETECTOR_IMAGE, ros.LABEL, ros.TRUTH)):
            yield topic.name, msg


def _stamp(msg: Any) -> int:
    return int(msg.header.stamp.sec) * 10**9 + int(msg.header.stamp.nanosec)


def _named(msg: Any, name: str) -> float:
    return float(msg.position[list(msg.name).index(name)])
