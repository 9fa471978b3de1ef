"""Arm and trainer on two machines: network namespaces on a cable, each with its own folder and `meld launch`.

Where making namespaces is not permitted, two ROS domains on this machine and a relay between them (relay.py).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from meld_core.metrics import Tail
from meld_core.storage.run_folder import RunFolder

from ..ros.conftest import DEADLINE, ROOT
from .cable import ADDRESSES

HERE = Path(__file__).resolve().parent
DOMAINS = (101, 101)
"""Domains 1 to 100 belong to `own_domain`."""


@dataclasses.dataclass
class Link:
    """What lies between the machines."""

    process: subprocess.Popen[str]
    prefix: tuple[tuple[str, ...], tuple[str, ...]]
    """What starts a command on either machine."""
    peers: tuple[str, str]
    domains: tuple[int, int]

    def set(self, **values: Any) -> None:
        """Change `loss` (of frames; of messages where it is a relay), `delay` [s, one way], `cut`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(values) + "\n")
        self.process.stdin.flush()


@contextmanager
def cable() -> Iterator[Link]:
    """Two namespaces. Raises PermissionError where they are not permitted here."""
    names = (f"meld{os.getpid()}a", f"meld{os.getpid()}b")
    with _started("cable.py", *names) as process:
        prefix = (("ip", "netns", "exec", names[0]), ("ip", "netns", "exec", names[1]))
        yield Link(process, prefix, (ADDRESSES[1], ADDRESSES[0]), DOMAINS)


@contextmanager
def relay() -> Iterator[Link]:
    """Two domains of this machine; whole messages are dropped, which DDS does not repair."""
    with _started("relay.py", "102", "103") as process:
        yield Link(process, ((), ()), ("", ""), (102, 103))


@contextmanager
def _started(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment(),
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise PermissionError(f"{script} could not start here; its messages are above")
        yield process
    finally:
        process.stdin.close()
        process.wait(DEADLINE)


def _environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("ROS_", "FASTDDS_"))}
    return ours | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}


class Machine:
    """One half of the graph, with files that the other half cannot see."""

    def __init__(self, link: Link, half: str, folder: Path, settings: dict[str, Any]) -> None:
        number = ("arm", "trainer").index(half)
        self.folder = folder / half
        self.folder.mkdir()
        self.run = RunFolder(self.folder / "runs" / "x")
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(settings))
        peer = [f"peer:={link.peers[number]}"] if link.peers[number] else []
        launch = ["launch", "train", f"machine:={half}", *peer, "run:=x", "config:=settings.yaml"]
        self.environment = _environment() | {"ROS_DOMAIN_ID": str(link.domains[number])}
        self.prefix = link.prefix[number]
        self._log = (self.folder / "printed.txt").open("w")
        self.process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "meld_ros.cli", *launch],
            cwd=self.folder, env=self.environment, stdout=self._log, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    @property
    def printed(self) -> str:
        """Everything that its nodes said."""
        return (self.folder / "printed.txt").read_text()

    @property
    def trials(self) -> int:
        """Trials in its replay."""
        return len(list(self.run.replay.glob("*.safetensors")))

    @property
    def waiting(self) -> int:
        """Trials in its spool."""
        return len(list((self.run.spool / "pending").glob("*.safetensors")))

    def notes(self) -> list[str]:
        """What its progress display was told to show."""
        return [row["note"] for row in Tail(self.run.metrics).read() if "note" in row]

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self._log.close()


def together(arm: Machine, trainer: Machine, folder: Path) -> RunFolder:
    """The arm's spool beside the trainer's replay: what an audit compares."""
    shutil.copytree(trainer.run.path, folder / "x")
    shutil.copytree(arm.run.spool, folder / "x" / "spool", dirs_exist_ok=True)
    return RunFolder(folder / "x")
