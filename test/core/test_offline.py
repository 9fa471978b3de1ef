"""`meld train --from-data`: a schedule for what is there, the same learner, resuming bit for bit, clear refusals."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from trial_builder import trial_of, with_rows

from meld_core.config import Config
from meld_core.exchange.offline import DataError, DataSet, adapted, check_fits, take_in
from meld_core.replay import Replay
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.trial_file import encode_trial
from meld_core.train import train_in_process
from meld_core.types import Trial
from meld_core.weights import latest_weights
from meld_ros.cli import main
from meld_ros.share import resolve_config

SMALL = ["eval.trials=1", "eval.video_trials=0", "eval.baselines=false", "eval.beliefs=false", "eval.processes=1"]


@pytest.fixture(scope="module")
def smoke() -> Config:
    return resolve_config(config="smoke", overrides=SMALL)


@pytest.fixture(scope="module")
def collected(smoke: Config, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that collected two scripted trials and two by the policy."""
    folder = RunFolder(tmp_path_factory.mktemp("online") / "runs" / "x").create(smoke)
    assert train_in_process(smoke, folder)
    return folder


@pytest.fixture
def two(collected: RunFolder, tmp_path: Path) -> DataSet:
    """Four trials in two folders, one of them in both."""
    paths = sorted(collected.replay.glob("*.safetensors"))
    for name, chosen in (("one", paths[:3]), ("two", paths[2:])):
        (tmp_path / name).mkdir()
        for path in chosen:
            shutil.copy(path, tmp_path / name)
    return DataSet.of([tmp_path / "one", tmp_path / "two"])


def test_the_schedule_is_that_of_the_data(smoke: Config, two: DataSet, collected: RunFolder) -> None:
    assert [path.parent.name for path in two.paths] == ["one", "one", "two", "two"]
    config = adapted(smoke, two)
    assert (config.train.trials, config.train.demonstrations, config.train.random_trials) == (4, 2, 0)
    assert config.train.fixed_data
    assert two.config() is None
    for place in (collected.path, collected.replay):
        assert DataSet.of([place]).config() == smoke
        assert len(DataSet.of([place]).paths) == 4


def trained(config: Config, data: DataSet, folder: Path, stops: int = 0) -> RunFolder:
    """A run from data, stopped after its first so many rounds and gone on with."""
    run = RunFolder(folder).create(config)
    assert take_in(config, run, data) == 4
    for _ in range(stops):
        stop = threading.Event()
        assert not train_in_process(config, run, stop, watch=lambda steps, stop=stop: stop.set() or False)  # type: ignore[misc]
    assert train_in_process(config, run)
    return run


def test_all_trials_are_learned_from_at_once_and_resuming_changes_nothing(
    smoke: Config, two: DataSet, tmp_path: Path
) -> None:
    config = adapted(smoke, two)
    run, resumed = trained(config, two, tmp_path / "a"), trained(config, two, tmp_path / "b", stops=2)
    whole, again = latest_weights(run.weights), latest_weights(resumed.weights)
    assert whole is not None
    assert again is not None
    assert whole.digest == again.digest
    assert (whole.version, whole.trained_through_trial) == (2, 3)  # pretraining, then two rounds
    replay = Replay(run.replay)
    facts = json.loads((run.path / "training.json").read_text())
    assert facts["first_learner_update_step"] == replay.steps  # all were there at the first update
    assert {t.meta.id for t in Replay(run.replay).trials} == {t.meta.id for t in Replay(resumed.replay).trials}


def _with_pictures_of(config: Config) -> Callable[[Trial], Trial]:
    """Gives a trial black pictures of the size that a config asks for."""
    size = config.sim.image_size

    def sized(trial: Trial) -> Trial:
        return with_rows(trial, image=np.zeros((len(trial), len(config.sim.views) * size, size, 3), np.uint8))

    return sized


def test_what_cannot_be_learned_from_is_one_sentence(smoke: Config) -> None:
    with pytest.raises(DataError, match="is of the split 'held_out'; only 'train' may be learned from"):
        check_fits(trial_of(split="held_out"), smoke)
    with pytest.raises(DataError, match=r"has pictures \(sim\.views, sim\.image_size\) \(4, 2\), .* have \(64, 32\)"):
        check_fits(trial_of(), smoke)
    sized = _with_pictures_of(smoke)
    with pytest.raises(DataError, match=rf"has ports \(task\.ports\) 1, these settings have {smoke.task.ports}"):
        check_fits(sized(trial_of()), smoke)
    one = dataclasses.replace(smoke, task=dataclasses.replace(smoke.task, ports=1))
    with pytest.raises(DataError, match=r"needs task\.episodes of 3 or more, these settings have 2"):
        check_fits(sized(trial_of(steps=(1, 1, 1))), one)
    with pytest.raises(DataError, match=r"needs task\.horizon of 7 or more, these settings have 6"):
        check_fits(sized(trial_of(steps=(7, 2))), one)
    check_fits(sized(trial_of()), one)


def test_aborted_trials_alone_are_no_data(smoke: Config, tmp_path: Path, two: DataSet) -> None:
    for path in two.paths:
        trial = Replay(path.parent).trials[0]
        cut = dataclasses.replace(trial, meta=dataclasses.replace(trial.meta, aborted="stopped"))
        (tmp_path / "cut").mkdir(exist_ok=True)
        (tmp_path / "cut" / f"{trial.meta.id}.safetensors").write_bytes(encode_trial(cut))
    with pytest.raises(DataError, match="every trial was aborted, none is whole"):
        adapted(smoke, DataSet.of([tmp_path / "cut"]))


def test_meld_train_from_data_ends_with_a_certificate(
    collected: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--from-data", str(collected.path), "--run", "off", "--set", "train.trials=5"]) == 0
    capsys.readouterr()
    config = RunFolder(Path("runs/off")).read_config()
    assert (config.train.trials, config.train.demonstrations, config.task.horizon) == (5, 2, 6)
    assert json.loads(Path("runs/off/certificate.json").read_text())["trials"] == 1
    assert json.loads(Path("runs/off/data.json").read_text())["trials"] == 4
    Path("runs/off/data.json").unlink()
    assert main(["train", "--run", "off", "--resume"]) == 2
    assert "was stopped before its data was there; say --from-data DIR again, with --resume" in capsys.readouterr().err
    assert main(["train", "--from-data", str(collected.path), "--resume"]) == 2
    assert "--resume needs --run NAME" in capsys.readouterr().err
    assert main(["train", "--from-data", "nowhere"]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err
