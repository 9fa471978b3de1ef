"""Faults 15 to 17 of the data path, and kill -9 of everything: nothing is lost, nothing comes twice."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from meld_core.config import Config
from meld_core.storage.audit import audit
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.spool import Spool
from meld_core.storage.verify import verify

from ..ros.conftest import Ros

HERE = Path(__file__).resolve().parent
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / "src"), str(HERE.parent), str(HERE.parent / "core")]),
}


def test_15_a_trainer_that_dies_while_it_saves_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    """100 kills after random delays; each time the newest file loads and is the one that its name says."""
    command = [sys.executable, str(HERE / "save_and_die.py"), str(tmp_path), "100"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 100
    assert all(int(version) == int(name) for _, version, name in lines[1:] if int(name))
    assert sum(state == "half" for state, *_ in lines) > 5  # else the kills missed what they were aimed at


def test_16_the_arm_collects_on_while_the_trainer_is_dead(ros: Ros, small: Config) -> None:
    """Killed after the first trial; three more wait in the spool until a new trainer has stored each once."""
    train = dataclasses.replace(small.train, trials=6, demonstrations=5)
    config = dataclasses.replace(small, train=train)
    folder = RunFolder(ros.folder / "fault16").create(config)
    nodes = ros.start_graph("train", config, folder, "robot", "reward", "policy", "trainer")
    spool = Spool(folder.spool)
    ros.until(lambda: list(folder.replay.glob("*.safetensors")), "the first trial")
    nodes["trainer"].send_signal(signal.SIGKILL)
    nodes["trainer"].wait()
    stored = len(list(folder.replay.glob("*.safetensors")))
    ros.until(lambda: len(spool.pending()) + stored >= 5, "all demonstrations, with nobody to learn from them")
    ros.start_graph("train", config, folder, "trainer")
    ros.until(lambda: nodes["policy"].poll() == 0, "the end of the run")
    report, found = verify(folder.path), audit(folder)
    assert report.sound, report.sentences()
    assert (report.trials, report.gaps, report.waiting, report.listed) == (6, [], 0, 12)
    assert (found.lost, found.duplicated) == (0, 0)


def test_17_a_collector_that_dies_amid_a_trial_loses_and_doubles_nothing(ros: Ros, small: Config) -> None:
    """Killed once an episode is on disk; its successor brings that episode and goes on with the same trial."""
    train = dataclasses.replace(small.train, trials=6, demonstrations=5)
    config = dataclasses.replace(small, train=train)
    folder = RunFolder(ros.folder / "fault17").create(config)
    nodes = ros.start_graph("train", config, folder, "robot", "reward", "policy", "trainer")
    ros.until(lambda: list((folder.spool / "open").glob("*/000.safetensors")), "a closed episode of an open trial")
    nodes["policy"].send_signal(signal.SIGKILL)
    nodes["policy"].wait()
    successor = ros.start_graph("train", config, folder, "policy")["policy"]
    ros.until(lambda: successor.poll() == 0, "the end of the run")
    report, found = verify(folder.path), audit(folder)
    assert report.sound, report.sentences()
    assert (found.lost, found.duplicated) == (0, 0)
    assert len(found.digests) == 6 + 1


def test_kill_9_of_everything_five_times(tmp_path: Path) -> None:
    """The small form of `meld bench durability`: final weights and trials are those of a run left alone, bit by bit."""
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "meld_ros.cli", "bench", "durability", "--kills", "5", "--json", str(figures)]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    result = {name.removeprefix("durability."): value for name, value in json.loads(figures.read_text()).items()}
    assert result["kills"] == 5
    assert [result[name] for name in ("lost", "duplicated", "corrupt_loaded", "damaged_files")] == [0, 0, 0, 0]
    assert result["transitions"] > 0
