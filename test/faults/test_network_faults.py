"""Fault 18: arm and trainer on two machines whose link is cut, loses and delays. Nothing is lost, nothing is doubled.

Each run ends with the trials and weights of a run in one process that nobody disturbed, bit for bit: whatever the link
did, the policy acted with the weights that were due, and the learner saw every transition once.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meld_core.config import load_config
from meld_core.storage.audit import audit
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.verify import verify
from meld_core.train import train_in_process

from ..ros.conftest import ROOT
from .two_machines import HERE, Link, Machine, cable, relay, together

CUT = 60.0
"""[s]."""
PATIENCE = 300.0


@pytest.fixture
def link() -> Iterator[Link]:
    """A cable between two namespaces; where they are not permitted, a relay."""
    try:
        with cable() as made:
            print("the machines are network namespaces")
            yield made
    except PermissionError as error:
        print(f"the machines are ROS domains with a relay between them: {error}")
        with relay() as made:
            yield made


def settings(**groups: dict[str, Any]) -> dict[str, Any]:
    """The smallest config with changes."""
    raw: dict[str, Any] = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    raw["storage"] = {"min_free": 1.0, "reserve": 0.0}
    for name, values in groups.items():
        raw[name] = raw.get(name, {}) | values
    return raw


def wait_for(condition: Callable[[], Any], what: str, *machines: Machine) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        ended = [machine.printed for machine in machines if machine.process.poll() is not None]
        assert not ended, f"while waiting for {what}: {ended}"
        assert time.monotonic() < end, f"still waiting for {what}: {[machine.printed[-2000:] for machine in machines]}"
        select.select([], [], [], 0.05)


def wanted(folder: Path, raw: dict[str, Any]) -> tuple[str, ...]:
    """What an undisturbed run comes to."""
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(raw))
    config = load_config([ROOT / "config" / "meld.yaml", ROOT / "config" / "robots" / "mujoco.yaml",
                          ROOT / "config" / "tasks" / "insertion.yaml", path])  # fmt: skip
    run = RunFolder(folder / "alone" / "x").create(config)
    assert train_in_process(config, run)
    return audit(run).digests


def judge(arm: Machine, trainer: Machine, folder: Path, undisturbed: tuple[str, ...]) -> None:
    """Exactly once, and with the weights that were due."""
    run = together(arm, trainer, folder)
    report, found = verify(run.path), audit(run)
    assert report.sound, report.sentences()
    assert (found.lost, found.duplicated, report.waiting) == (0, 0, 0)
    assert found.transitions > 0
    assert found.digests == undisturbed


def hear(machine: Machine, path: Path) -> subprocess.Popen[str]:
    """Write what `/diagnostics` says on a machine into a file."""
    with path.open("w") as file:
        command = [*machine.prefix, sys.executable, str(HERE / "hear.py")]
        return subprocess.Popen(command, env=machine.environment, stdout=file, text=True)


def statuses(path: Path, node: str) -> list[dict[str, str]]:
    text = path.read_text()
    rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [row for row in rows if row["node"] == node]


def test_18_a_cut_of_a_minute_loses_and_doubles_nothing(link: Link, tmp_path: Path, single_thread: None) -> None:
    """Amid the demonstrations, which need no weights: the arm collects on. Everybody says what is the matter."""
    raw = settings(train={"trials": 34, "demonstrations": 30})
    undisturbed = wanted(tmp_path, raw)
    trainer, arm = (Machine(link, half, tmp_path, raw) for half in ("trainer", "arm"))
    heard = tmp_path / "heard.jsonl"
    ear = hear(arm, heard)
    try:
        wait_for(lambda: trainer.trials >= 2, "the first trials", arm, trainer)
        link.set(cut=True)
        began = time.monotonic()
        wait_for(lambda: "the trainer is not heard any more" in arm.printed, "a word of the policy", arm, trainer)
        wait_for(lambda: "the actor is not heard any more" in trainer.notes(), "a word of the trainer", arm, trainer)
        wait_for(lambda: time.monotonic() - began > CUT, "the end of the cut", arm, trainer)
        stored, waiting = trainer.trials, arm.waiting
        link.set(cut=False)
        wait_for(lambda: arm.process.poll() is not None, "the end of the run", trainer)
        assert arm.process.returncode == 0, arm.printed
        wait_for(lambda: trainer.notes()[-1] == "", "the trainer's relief", trainer)
    finally:
        ear.kill()
        ear.wait()
        arm.close()
        trainer.close()
    assert stored + waiting >= 30  # nobody waited for anybody
    assert waiting > 10
    judge(arm, trainer, tmp_path / "both", undisturbed)
    rows = statuses(heard, "policy")
    assert any(row.get("trainer", "").startswith("lost for") and int(row["trials that wait"]) > 10 for row in rows)
    assert rows[-1]["trainer"].startswith("up for")
    assert any(row.get("policy age [trials]") == "0" and float(row["policy age [s]"]) >= 0.0 for row in rows)


def test_18_large_messages_survive_loss_and_delay(link: Link, tmp_path: Path, single_thread: None) -> None:
    """10 % of all frames are lost, each takes 200 ms: weights of 9 MB cross in pieces, trials whole."""
    raw = settings(
        train={"trials": 6, "demonstrations": 4},
        sim={"image_size": 64},
        task={"horizon": 10},
        model={"hidden": 1024, "features": 64},
        sac={"hidden": 1024},
    )
    undisturbed = wanted(tmp_path, raw)
    assert max(path.stat().st_size for path in (tmp_path / "alone/x/weights").glob("*")) > 8_000_000
    link.set(loss=0.1, delay=0.2)
    trainer, arm = (Machine(link, half, tmp_path, raw) for half in ("trainer", "arm"))
    try:
        wait_for(lambda: arm.process.poll() is not None, "the end of the run", trainer)
        assert arm.process.returncode == 0, arm.printed
    finally:
        arm.close()
        trainer.close()
    judge(arm, trainer, tmp_path / "both", undisturbed)


def test_18_whole_messages_that_are_lost_come_again(tmp_path: Path, single_thread: None) -> None:
    """A relay drops one message in five, which DDS cannot repair, and in between everything for some seconds."""
    raw = settings(train={"trials": 12, "demonstrations": 8})
    undisturbed = wanted(tmp_path, raw)
    with relay() as link:
        link.set(loss=0.2, delay=0.2)
        trainer, arm = (Machine(link, half, tmp_path, raw) for half in ("trainer", "arm"))
        try:
            wait_for(lambda: trainer.trials >= 2, "the first trials", arm, trainer)
            link.set(cut=True)
            wait_for(lambda: arm.waiting >= 4, "trials in the spool", arm, trainer)
            link.set(cut=False)
            wait_for(lambda: arm.process.poll() is not None, "the end of the run", trainer)
            assert arm.process.returncode == 0, arm.printed
        finally:
            arm.close()
            trainer.close()
    judge(arm, trainer, tmp_path / "both", undisturbed)
