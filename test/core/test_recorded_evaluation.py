"""Evaluations that ran through the graph: scored from what they left in the run's folder."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from scored_trials import two_episodes

from meld_core.config import load_config
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.trial_file import encode_trial
from meld_core.task_families import make_tasks
from meld_core.types import Trial
from meld_ros.cli import main

CONFIG = load_config(overrides=["eval.trials=4"])


def put(
    run: RunFolder, index: int, *, second: bool, boot: str = "0", weights: str = "a" * 64, aborted: str = "",
    truth: bool = True,
) -> Path:  # fmt: skip
    """A recorded trial: episode 1 succeeds after a wrong port, episode 2 where `second` says so; one file per boot."""
    task = make_tasks(CONFIG.task).sample("held_out", 1000 + index)
    trial = two_episodes(True, second, live=task.live, counter=index)
    identity = dataclasses.replace(trial.meta.id, boot=boot * 32)
    meta = dataclasses.replace(
        trial.meta, id=identity, task=task.to_json(), weights_digest=weights, weights_version=3, aborted=aborted
    )
    trial = Trial(meta, trial.rows, trial.truth if truth else {})
    folder = run.evaluation / "pending"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{meta.id}.safetensors"
    path.write_bytes(encode_trial(trial))
    at = 1_000_000_000 + len(list(folder.iterdir()))  # files of one test come in order
    os.utime(path, (at, at))
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    return RunFolder(Path("runs/bench")).create(CONFIG)


def test_the_newest_complete_trial_of_each_task_counts(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks 0 to 3: a success; aborted, then one; a failure, then one; acted by other weights: 3 of 3."""
    put(run, 3, second=False, weights="b" * 64)
    put(run, 0, second=True)
    put(run, 1, second=False, aborted="the person pressed stop")
    put(run, 1, second=True, boot="1")
    put(run, 2, second=False)
    put(run, 2, second=True, boot="2")
    put(run, 0, second=False, boot="3", aborted="broken off when it was run once more")
    assert main(["eval", "--run", "bench", "--recorded"]) == 0
    certificate = json.loads(run.evaluation_certificate.read_text())
    assert (certificate["trials"], certificate["split"], certificate["task_seed"]) == (3, "held_out", 1000)
    assert certificate["outcomes"]["2"] == {"success": "111", "first_attempt": "111"}
    assert certificate["outcomes"]["1"] == {"success": "111", "first_attempt": "000"}
    assert certificate["weights"] == {"version": 3, "sha256": "a" * 64, "trained_through_trial": -1}
    assert certificate["scored_by"] == "truth"
    printed = capsys.readouterr().out
    assert "judged by    the simulator's truth" in printed
    assert str(run.evaluation_certificate) in printed


def test_on_a_bench_without_truth_the_detector_is_the_judge(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    put(run, 0, second=True, truth=False)
    put(run, 1, second=False, truth=False)
    assert main(["eval", "--run", "bench", "--recorded"]) == 0
    certificate = json.loads(run.evaluation_certificate.read_text())
    assert certificate["scored_by"] == "detector"
    assert (certificate["episodes"]["2"]["successes"], certificate["episodes"]["2"]["first_attempt_rate"]) == (1, None)
    assert "judged by    the reward detector" in capsys.readouterr().out


def damage(run: RunFolder) -> list[str]:
    path = put(run, 0, second=True)
    path.write_bytes(path.read_bytes()[:-9])
    return ["--recorded"]


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda run: ["--recorded"], "holds no complete trial; run held-out ones first: meld launch eval run:=bench"),
        (lambda run: ["--recorded", "--trials", "5"], "it goes with no other option"),
        (damage, "move it away, or look what is left of it"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(
    run: RunFolder, capsys: pytest.CaptureFixture[str], prepare: Callable[[RunFolder], list[str]], sentence: str
) -> None:
    assert main(["eval", "--run", "bench", *prepare(run)]) != 0
    said = capsys.readouterr().err
    assert sentence in " ".join(said.split())
    assert "Traceback" not in said
    assert not run.evaluation_certificate.exists()
