"""Bags read: rosbag2 folders and single MCAP (or sqlite3) files, and what a killed recording has left."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from meld_ros.bags import BagError, library
from meld_ros.bags.writer import CONFIG, METADATA, UNFINISHED, BagWriter

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _DATA_END = 0x02, 0x0F
_RECORD = 9
"""An MCAP record begins with its kind and the length of the rest [bytes]."""


class Bag:
    """An open bag."""

    def __init__(self, path: Path, reader: Any) -> None:
        self.path, self._reader = path, reader

    @property
    def topics(self) -> dict[str, str]:
        """Topic → message type."""
        return {connection.topic: connection.msgtype for connection in self._reader.connections}

    @property
    def count(self) -> int:
        """Messages."""
        return int(self._reader.message_count)

    @property
    def connections(self) -> Sequence[Any]:
        """Topics with type and QoS, as rosbags describes them."""
        return tuple(self._reader.connections)

    @property
    def config(self) -> Path | None:
        """The settings that were recorded with it."""
        path = self.path / CONFIG if self.path.is_dir() else self.path.parent / CONFIG
        return path if path.is_file() else None

    def messages(self, topics: Sequence[str] | None = None) -> Iterator[tuple[str, int, bytes]]:
        """Topic, time [ns] and bytes of every message (of these topics), by time within a file.

        Raises:
            BagError: where the bag is damaged.
        """
        wanted = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not wanted:
            return
        count = 0
        messages = self._reader.messages(connections=wanted)
        while True:
            try:
                connection, time, data = next(messages)
            except StopIteration:
                return
            except Exception as error:  # rosbags has no common error for what it cannot read
                raise BagError(f"{self.path} is damaged after {count} messages: {error}") from None
            yield connection.topic, time, data
            count += 1


@contextlib.contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a bag's folder or one file.

    Raises:
        BagError: where it cannot be read; a bag that was not closed says how to recover it.
    """
    kind = library("rosbag2").Reader
    if not path.exists():
        raise BagError(f"there is no bag {path}")
    if path.is_dir() and not (path / METADATA).is_file():
        if not files_of(path):
            raise BagError(f"{path} is no bag: it has neither {METADATA} nor MCAP files")
        raise BagError(f"{path} was not closed; save what it holds: meld data recover {path} --out DIR")
    reader = None
    try:
        reader = kind(path)
        reader.open()
    except Exception as error:  # as above
        raise BagError(f"{path} is no bag that can be read: {error}") from None
    with contextlib.closing(reader):
        yield Bag(path, reader)


def files_of(folder: Path) -> list[Path]:
    """MCAP files of a bag's folder in the order of recording, the unfinished one included."""
    found = [*folder.glob("*.mcap"), *(folder / UNFINISHED).glob("*/*.mcap")]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def recover(path: Path, out: Path, split: int) -> tuple[int, list[str]]:
    """Write every message that can still be read into a new bag.

    Returns:
        Messages saved, and one sentence per file that was not whole.

    Raises:
        BagError: where there is nothing to read.
    """
    files = files_of(path) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise BagError(f"{path} holds no MCAP file to recover")
    remarks: list[str] = []
    writer = BagWriter(out, split)
    for file in files:
        with tempfile.TemporaryDirectory(dir=out) as folder:
            remarks += _save(file, writer, Path(folder))
    writer.close()
    settings = (path if path.is_dir() else path.parent) / CONFIG
    if settings.is_file():
        shutil.copyfile(settings, out / CONFIG)
    return writer.messages, remarks


def _save(file: Path, writer: BagWriter, folder: Path) -> list[str]:
    """Copy the messages of one file; what is to be said about it."""
    try:
        with open_bag(file) as bag:
            _copy(bag, writer)
        return []
    except BagError:
        pass
    try:
        repaired, lost = sound_part(file, folder / file.name)
    except BagError:
        return [f"{file.name} was not closed and holds no whole chunk: {file.stat().st_size} bytes are lost"]
    with open_bag(repaired) as bag:
        _copy(bag, writer)
    return [f"{file.name} was not closed: {lost} bytes at its end are lost, the rest is saved"]


def _copy(bag: Bag, writer: BagWriter) -> None:
    for connection in bag.connections:
        writer.add_topic(connection.topic, connection.msgtype, connection.ext.offered_qos_profiles)
    for topic, time, data in bag.messages():
        writer.write(topic, time, data)


def sound_part(file: Path, out: Path) -> tuple[Path, int]:
    """Copy an MCAP file up to its last whole record, and end it as the format asks (a summary may be absent).

    Returns:
        The copy, and the bytes that were left out.

    Raises:
        BagError: where not even the beginning is there.
    """
    size = file.stat().st_size
    with file.open("rb") as source, out.open("wb") as target:
        if source.read(len(_MAGIC)) != _MAGIC:
            raise BagError(f"{file} does not begin like an MCAP file")
        end = source.tell()
        while len(head := source.read(_RECORD)) == _RECORD and head[0] not in (_FOOTER, _DATA_END):
            behind = source.tell() + int.from_bytes(head[1:], "little")
            if behind > size:
                break
            end = source.seek(behind)
        source.seek(0)
        _copy_bytes(source, target, end)
        target.write(bytes([_DATA_END]) + (4).to_bytes(8, "little") + bytes(4))
        target.write(bytes([_FOOTER]) + (20).to_bytes(8, "little") + bytes(20) + _MAGIC)
    return out, size - end


def _copy_bytes(source: Any, target: Any, count: int) -> None:
    while count and (data := source.read(min(count, 1 << 20))):
        target.write(data)
        count -= len(data)
