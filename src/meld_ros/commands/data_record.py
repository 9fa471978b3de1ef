"""`meld data record`: topics into a bag until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from meld_core.config import ConfigError
from meld_core.sections.storage import StorageConfig
from meld_core.storage.disk_room import MEGABYTE, DiskRoom
from meld_core.storage.run_folder import RunFolder
from meld_ros.bags import library
from meld_ros.bags.writer import CONFIG, BagWriter
from meld_ros.commands.data import run_of
from meld_ros.commands.training import require_ros, stop_requested
from meld_ros.doctor_processes import node_processes
from meld_ros.graph import environment

if TYPE_CHECKING:
    from meld_ros.bags.recorder import Recorder
    from meld_ros.commands.data_arguments import Record

_LOOK = 0.3
"""How often new topics are looked for, and the display is renewed [s]."""
_LINE = 10.0
"""How often a line is printed where the output is no terminal [s]."""


def run(command: Record) -> int:
    """0 once the bag is closed; 1 where the disk was full before that, or messages were dropped."""
    require_ros()
    library("rosbag2")
    if command.split <= 0:
        raise ConfigError(f"--split is {command.split}, must be more than 0 [MB]")
    folder = run_of(command.run) if command.run else None
    out = Path(command.out) if command.out else _default(folder)
    os.environ.update(_environment(folder))
    writer = BagWriter(out, int(command.split * MEGABYTE))
    if folder is not None:
        shutil.copyfile(folder.config_file, out / CONFIG)
    with stop_requested() as stop:
        return _record(writer, command.topics, stop)


def _default(folder: RunFolder | None) -> Path:
    return (folder.path if folder else Path()) / "bags" / time.strftime("%Y%m%d-%H%M%S")


def _environment(folder: RunFolder | None) -> dict[str, str]:
    """That of the run's graph; without a run that of this terminal."""
    if folder is None:
        return {name: value for name, value in environment(Path(), None).items() if name != "ROS_LOG_DIR"}
    path = folder.path.resolve()
    domains = {process.domain for process in node_processes() if process.run and Path(process.run).resolve() == path}
    if not domains:
        raise ConfigError(f"no graph of run {folder.path} is running; start it first, or leave --run out")
    return environment(path, domains.pop())


def _record(writer: BagWriter, topics: tuple[str, ...], stop: threading.Event) -> int:
    from rich.console import Console

    from meld_ros.bags.recorder import listening

    room = DiskRoom(writer.folder, StorageConfig(reserve=0.0))
    console, shortage, line = Console(stderr=True), "", time.monotonic() + _LINE
    _tell(f"recording into {writer.folder}; stop with Ctrl-C")
    with listening(writer, topics) as (recorder, take), console.status("waiting for topics") as status:
        while not stop.is_set() and not shortage:
            recorder.discover()
            take(_LOOK)
            shortage = room.shortage()
            status.update(_progress(writer, recorder))
            if not console.is_terminal and time.monotonic() > line:
                line += _LINE
                _tell(_progress(writer, recorder))
    return _conclude(writer, recorder, shortage)


def _progress(writer: BagWriter, recorder: Recorder) -> str:
    count, dropped = recorder.recorded.total(), recorder.dropped.total()
    size = f"{writer.bytes / MEGABYTE:.1f} MB in {max(1, writer.files)} files"
    return f"{count} messages of {len(recorder.recorded)} topics, {size}, {dropped} dropped"


def _conclude(writer: BagWriter, recorder: Recorder, shortage: str) -> int:
    for sentence in recorder.refused:
        _tell(sentence)
    for topic, count in sorted(recorder.dropped.items()):
        if count:
            _tell(f"{count} messages of {topic} were dropped; record fewer topics (--topics), or on a faster disk")
    if shortage:
        _tell(f"the recording was ended: {shortage.split(';', maxsplit=1)[0]}")
    print(f"{_progress(writer, recorder)}: {writer.folder}")
    return 1 if shortage or recorder.dropped.total() else 0


def _tell(sentence: str) -> None:
    print(f"meld: {sentence}", file=sys.stderr, flush=True)
