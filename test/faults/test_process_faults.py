"""Faults 28, 29 and 31: starting and stopping again and again, Ctrl+C of a whole graph in motion, a GPU that fails."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from meld_core.announce import Announcement, EpisodeKey
from meld_core.config import Config
from meld_core.replay import Replay
from meld_core.schedule import Schedule
from meld_core.storage.audit import audit
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.verify import verify
from meld_ros.graph import GRAPHS, ROBOT, Options, parameters_of
from meld_ros.share import resolve_config
from test.faults.driver_bench import READY, SCRIPTS, STAND_INS
from test.faults.oracle import Bounds, Recording, unsafe_samples
from test.faults.stage import BENCH, PATIENT
from test.ros.conftest import ROOT, Process, Ros
from test.ros.stand_ins import Listener, parameters

HERE = Path(__file__).resolve().parent
GRAPH_UP = 130.0
"""Until a whole graph has started and done its first trials, on a busy machine [s]."""
SLEEP = np.array([0.0, -1.80, 1.55, 0.0, 0.80, 0.0])


def driver(ros: Ros, record: Path) -> Process:
    return ros.start(str(STAND_INS / f"{SCRIPTS['ros2_control']}.py"), {"start": READY, "record": str(record)})


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path} | more


@pytest.mark.parametrize("without", ["", "teardown"])
def test_28_twenty_starts_and_stops_leave_nothing_behind(ros: Ros, tmp_path: Path, without: str) -> None:
    """Threads and open files of rounds 5 to 20 are the same; memory grows by less than 1 MB a round."""
    config = resolve_config("ros2_control", config="smoke", overrides=[*BENCH, "driver.stale_after=2.0"])
    driver(ros, tmp_path / "recording.jsonl")
    task = json.loads(Announcement(EpisodeKey("run", "", 0, 0), Schedule(config).plan(0).task).to_json())
    (tmp_path / "given.json").write_text(json.dumps({"parameters": parameters(config, *ROBOT.sections), "task": task}))
    command = [sys.executable, str(HERE / "start_and_stop.py"), str(tmp_path / "given.json"), "8" if without else "20"]
    environ = environment(MELD_TEST_WITHOUT=without)
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rounds) == (8 if without else 20)
    threads, files, memory = (np.array([found[name] for found in rounds[4:]]) for name in rounds[0])
    slope = np.polyfit(np.arange(len(memory)), memory, 1)[0]
    print(f"threads {threads.min()}-{threads.max()}, files {files.min()}-{files.max()}, {slope:.2f} MB a round")
    flat = np.ptp(threads) == 0 and np.ptp(files) <= 2 and slope < 1.0
    assert flat == (not without)


@pytest.mark.parametrize("times", [1, 2])
def test_29_ctrl_c_of_a_graph_in_motion_parks_or_holds_and_keeps_its_trials(
    ros: Ros, tmp_path: Path, times: int
) -> None:
    """The whole graph on a driver. Whatever it was doing, the arm ends at rest within its limits; trials are sound."""
    record = tmp_path / "recording.jsonl"
    stand_in, recording = driver(ros, record), Recording(record)
    settings = [*BENCH, *PATIENT, "gate.policy_lease=3.0", "train.trials=40", "train.demonstrations=38"]
    (tmp_path / "short.yaml").write_text(
        "\n".join(f"{group}: {{{', '.join(items)}}}" for group, items in grouped(settings).items())
        + "\n"
        + without_groups((ROOT / "config" / "smoke.yaml").read_text(), grouped(settings))
    )
    command = [sys.executable, "-m", "meld_ros.cli", "launch", "train", "robot:=ros2_control"]
    process = subprocess.Popen(
        [*command, "config:=short.yaml", "run:=x"], cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    run = RunFolder(tmp_path / "runs" / "x")

    def under_way() -> bool:
        recording.refresh()
        _, speeds = recording.speeds(recording.now - 0.1)
        stored = list(run.replay.glob("*.safetensors"))
        return bool(stored and recording.commands and recording.commands[-1].moves and len(speeds) and speeds[-1] > 0.1)

    try:
        ros.until(under_way, "a trial on disk and an arm in motion", GRAPH_UP)
        at = time.monotonic()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=90)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, output
    assert stand_in.poll() is None
    over = time.monotonic()
    ros.until(lambda: recording.refresh() or recording.now > over + 4.0, "four seconds of an arm left alone")
    rested = recording.rested_at(at)
    assert rested is not None
    assert rested < over + 4.0
    parked = np.abs(recording.ticks(recording.now - 0.2)[-1, 1:7] - SLEEP).max() < 0.1
    print(f"Ctrl+C x{times}: at rest after {rested - at:.1f} s, {'parked' if parked else 'held'}")
    assert parked or times == 2
    bounds = Bounds(np.pi, np.full(3, -9.0), np.full(3, 9.0))
    assert unsafe_samples(recording, bounds, [])["too fast"] == 0
    report = verify(run.path)
    assert report.sound, report.sentences()


def grouped(settings: list[str]) -> dict[str, list[str]]:
    """`group.name=value` as YAML, by group."""
    groups: dict[str, list[str]] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        group, _, key = name.partition(".")
        groups.setdefault(group, []).append(f"{key}: {value}")
    return groups


def without_groups(text: str, groups: dict[str, list[str]]) -> str:
    """A YAML file of plain groups less some of them."""
    kept, skipping = [], False
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            skipping = line.rstrip(":") in groups
        if not skipping:
            kept.append(line)
    return "\n".join(kept)


@pytest.mark.parametrize("guarded", [True, False])
def test_31_a_trainer_whose_gpu_fails_goes_on_on_the_cpu(
    ros: Ros, small: Config, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own OutOfMemoryError in a genuine trainer. The policy never notices, and no trial is lost."""
    train = dataclasses.replace(small.train, trials=6, demonstrations=2, checkpoint_every=1)
    config = dataclasses.replace(small, train=train)
    folder = RunFolder(ros.folder / "fault31").create(config)
    listener = Listener(ros)
    nodes = ros.start_graph("train", config, folder, "robot", "reward", "policy")
    spec = next(spec for spec in GRAPHS["train"] if spec.name == "trainer")
    if not guarded:
        monkeypatch.setenv("MELD_TEST_WITHOUT", "fallback")
    given = parameters_of(spec, "train", config, Options(folder=folder.path))
    trainer = ros.start(str(HERE / "oom_trainer.py"), given, "trainer")
    if not guarded:
        ros.mortal.add(trainer.pid)
        ros.until(lambda: trainer.poll() is not None, "the end of the trainer", GRAPH_UP)
        assert nodes["policy"].poll() is None
        assert verify(folder.path).sound  # stopped with data safe; but nobody trains on
        return
    words = "CUDA out of memory", "training goes on on the CPU"
    ros.until(lambda: any(all(word in said for word in words) for said in listener.said), f"{words}", GRAPH_UP)
    ros.until(lambda: nodes["policy"].poll() == 0, "the end of the run", GRAPH_UP)
    assert trainer.poll() is None
    report, found = verify(folder.path), audit(folder)
    assert report.sound, report.sentences()
    assert (report.trials, report.aborted, found.lost, found.duplicated) == (6, 0, 0, 0)
    versions = [trial.meta.weights_version for trial in Replay(folder.replay).trials]
    assert versions[:2] == [-1, -1]
    assert all(late > early for late, early in zip(versions[3:], versions[2:], strict=False))
