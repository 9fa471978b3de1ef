"""BagWriter: a rosbag2 folder of MCAP files, split by size, whole at every moment but for the file under way.

    NAME/NAME_0.mcap, NAME_1.mcap ...   finished files
    NAME/.recording/NAME_2/             the file under way; its finished chunks survive a kill (`reader.recover`)
    NAME/metadata.yaml                  written last: a bag that has it was closed
    NAME/config.yaml                    the settings of the run that was recorded, where they are known

Metadata are of rosbag2's version 8 (QoS as text with numbers), which Humble, Jazzy and Kilted all read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meld_core.config import dump_yaml, read_yaml
from meld_core.storage.files import StorageError, make_folder, sync_folder, write_atomic
from meld_ros.bags import BagError, library

VERSION = 8
METADATA = "metadata.yaml"
CONFIG = "config.yaml"
UNFINISHED = ".recording"
_INFORMATION = "rosbag2_bagfile_information"


class BagWriter:
    """Writes one bag.

    Args:
        folder: Of the bag; made here.
        split: A new file is begun once one holds this many bytes of messages.

    Raises:
        BagError: where rosbags is missing, or the folder exists.
    """

    def __init__(self, folder: Path, split: int) -> None:
        self._library, plugins = library("rosbag2"), library("rosbag2.enums")
        self._plugin = plugins.StoragePlugin.MCAP
        self._store = library("typesys").get_typestore(library("typesys").Stores.ROS2_KILTED)
        if folder.exists():
            raise BagError(f"{folder} exists already; give --out a folder that is still to be made")
        self.folder, self._split = make_folder(folder), split
        self._topics: dict[str, tuple[str, Sequence[Any]]] = {}
        self._connections: dict[str, Any] = {}
        self._writer: Any = None
        self._in_file = 0
        self._parts: list[dict[str, Any]] = []
        self.files, self.messages, self.bytes = 0, 0, 0
        """Files begun; messages and bytes of messages written."""

    def knows(self, kind: str) -> bool:
        """Whether messages of this type can be described in a bag."""
        return kind in self._store.fielddefs

    def add_topic(self, name: str, kind: str, qos: Sequence[Any] = ()) -> None:
        """Announce a topic with its message type and the QoS that its publishers offer (rosbags' `Qos`).

        Raises:
            BagError: on a message type whose definition is not known.
        """
        if not self.knows(kind):
            raise BagError(f"topic {name} has messages of type {kind}, whose definition is not known here")
        self._topics.setdefault(name, (kind, tuple(qos)))
        if self._writer is not None:
            self._connect(name)

    def _connect(self, name: str) -> None:
        if name not in self._connections:
            kind, qos = self._topics[name]
            self._connections[name] = self._writer.add_connection(
                name, kind, typestore=self._store, offered_qos_profiles=qos
            )

    def write(self, topic: str, stamp: int, data: bytes) -> None:
        """Append one message of an announced topic, as it came; stamps [ns] should not go back.

        Raises:
            StorageError: where the disk refuses.
        """
        try:
            if self._writer is None:
                self._begin()
            self._writer.write(self._connections[topic], stamp, data)
            self._in_file += len(data)
            if self._in_file >= self._split:
                self._finish()
        except OSError as error:
            raise StorageError(f"cannot write the bag {self.folder}: {error.strerror}") from None
        self.messages, self.bytes = self.messages + 1, self.bytes + len(data)

    def _begin(self) -> None:
        name = f"{self.folder.name}_{self.files}"
        make_folder(self.folder / UNFINISHED)
        self._writer = self._library.Writer(
            self.folder / UNFINISHED / name, version=VERSION, storage_plugin=self._plugin
        )
        self._writer.open()
        self.files, self._in_file, self._connections = self.files + 1, 0, {}
        for topic in self._topics:
            self._connect(topic)

    def _finish(self) -> None:
        """Close the file under way and move it to its place."""
        if self._writer is None:
            return
        part = self._writer.path
        self._writer.close()
        self._writer = None
        self._parts.append(read_yaml(part / METADATA)[_INFORMATION])
        (file,) = part.glob("*.mcap")
        with file.open("rb") as written:
            os.fsync(written.fileno())
        file.replace(self.folder / file.name)
        sync_folder(self.folder)
        shutil.rmtree(part)

    def close(self) -> None:
        """Finish the file under way and write the metadata. Safe to call twice.

        Raises:
            StorageError: where the disk refuses.
        """
        if (self.folder / METADATA).exists():
            return
        try:
            if not self.files:
                self._begin()
            self._finish()
            (self.folder / UNFINISHED).rmdir()
        except OSError as error:
            raise StorageError(f"cannot close the bag {self.folder}: {error.strerror}") from None
        write_atomic(self.folder / METADATA, dump_yaml({_INFORMATION: joined(self._parts)}).encode())


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metadata of several files as those of one bag. A file without messages has no time."""
    files = [_timed(file) for part in parts for file in part["files"]]
    timed = [file for file in files if file["message_count"]]
    starts = [file["starting_time"]["nanoseconds_since_epoch"] for file in timed]
    ends = [start + file["duration"]["nanoseconds"] for start, file in zip(starts, timed, strict=True)]
    topics: dict[str, dict[str, Any]] = {}
    for part in parts:
        for topic in part["topics_with_message_count"]:
            name = topic["topic_metadata"]["name"]
            before = topics.get(name, {"message_count": 0})["message_count"]
            topics[name] = {**topic, "message_count": before + topic["message_count"]}
    return {
        **parts[0],
        "relative_file_paths": [file["path"] for file in files],
        "starting_time": {"nanoseconds_since_epoch": min(starts, default=0)},
        "duration": {"nanoseconds": max(ends, default=0) - min(starts, default=0)},
        "message_count": sum(file["message_count"] for file in files),
        "topics_with_message_count": list(topics.values()),
        "files": files,
        "ros_distro": os.environ.get("ROS_DISTRO", "rosbags"),
    }


def _timed(file: Mapping[str, Any]) -> dict[str, Any]:
    empty = {"starting_time": {"nanoseconds_since_epoch": 0}, "duration": {"nanoseconds": 0}}
    return dict(file) if file["message_count"] else {**file, **empty}
