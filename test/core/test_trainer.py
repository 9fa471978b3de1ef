"""Trainer: bad weights are never published; roll-backs are a function of the trials; resuming changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from meld_core import learner as learner_module
from meld_core.agent import Agent
from meld_core.config import Config
from meld_core.driver import Driver
from meld_core.metrics import Tail
from meld_core.rollout import MemorySink
from meld_core.schedule import Schedule
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.trial_file import encode_trial
from meld_core.trainer import Trainer
from meld_core.weights import Weights, WeightsError

from .learning import tiny_config
from .test_learner import run_trial

CONFIG = tiny_config(
    "train.trials=11", "train.demonstrations=2", "learner.update_every=1", "train.checkpoint_every=3",
    "rollback.window=3", "rollback.drop=0.5", "storage.min_free=1", "learner.threads=1",
)  # fmt: skip
COLLAPSE = 7
"""From this trial on nothing succeeds."""
Published = dict[int, Weights]


class Run:
    """Made-up observations, the real trainer: what it publishes, by trial."""

    def __init__(self, folder: Path, config: Config = CONFIG) -> None:
        self.config, self.folder = config, RunFolder(folder / "demo").create(config, resume=True)
        self.trainer = Trainer(config, self.folder)
        self.agent = Agent(config)
        self.driver = Driver(config, self.agent, MemorySink(), run="demo", boot="0" * 32)
        self.published: Published = {}

    def reopen(self) -> None:
        """As a new process would."""
        self.trainer.close()
        self.trainer = Trainer(self.config, self.folder)

    def go_to(self, end: int, before: Callable[[int], None] = lambda index: None) -> Published:
        """Collect and train up to trial `end`."""
        for index in range(self.trainer.next_to_collect, end):
            through = Schedule(self.config).plan(index).needs_weights_through
            if through is not None:
                self.agent.load(self.published[through])
            trial = run_trial(self.driver, self.config, index, success_at=2 if index < COLLAPSE else 99)
            self.trainer.ingest(encode_trial(trial))
            before(index)
            while self.trainer.ready:
                weights = self.trainer.train_next()
                self.published |= {weights.trained_through_trial: weights} if weights else {}
        return self.published


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("whole"))
    run.go_to(11)
    run.trainer.close()
    return run


def test_a_fall_of_success_brings_back_the_last_good_weights(whole: Run) -> None:
    """Success was at its best at trial 6; trials 7 and 8 fail: after 8 the average is .33. Landmarks: 1, 2, 5."""
    published = whole.published
    assert published[8].digest == published[5].digest
    assert published[8].version == 7  # newer than all before, so that it is adopted
    assert published[7].digest != published[5].digest
    assert published[9].digest not in (published[8].digest, published[5].digest)  # it goes on from there
    notes = [row["note"] for row in Tail(whole.folder.metrics).read() if row.get("note")]
    assert notes == whole.trainer.remarks
    assert notes == [
        "rolled back to the weights of trial 5 after trial 8: success over the last 3 policy trials fell to 0.33 "
        "from 1.00 at trial 6 (rollback.drop 0.5)"
    ]


def test_a_trainer_that_is_started_anew_again_and_again_publishes_the_same(whole: Run, tmp_path: Path) -> None:
    """The roll-back included: its verdict, the checkpoint that it goes back to, and all that follows."""
    run = Run(tmp_path)
    for end in (1, 2, 5, 6, 8, 9, 11):
        run.go_to(end)
        run.reopen()
    assert {n: w.digest for n, w in run.published.items()} == {n: w.digest for n, w in whole.published.items()}
    assert sorted(path.name for path in run.folder.replay.iterdir()) == sorted(
        path.name for path in whole.folder.replay.iterdir()
    )
    assert all((whole.folder.replay / p.name).read_bytes() == p.read_bytes() for p in run.folder.replay.iterdir())


def test_a_network_that_holds_nan_is_replaced_and_never_published(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def break_at_4(index: int) -> None:
        if index == 4:
            next(run.trainer._learner.networks.critics.parameters()).data.fill_(float("nan"))

    published = run.go_to(5, break_at_4)
    assert published[4].digest == published[2].digest
    assert all(bool(torch.isfinite(t).all()) for w in published.values() for t in w.tensors.values())
    assert run.trainer._learner.finite()
    assert (
        "rolled back to the weights of trial 2 after trial 4: a network of the learner holds NaN"
        in (run.trainer.remarks[0])
    )
    run.trainer.close()


def test_without_a_checkpoint_it_stops_in_one_sentence(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def break_at_once(index: int) -> None:
        run.trainer._learner.networks.log_temperature.data.fill_(float("nan"))

    with pytest.raises(WeightsError, match="there is no checkpoint yet to go back to"):
        run.go_to(2, break_at_once)
    run.trainer.close()
    assert list(run.folder.weights.iterdir()) == []
    assert list(run.folder.checkpoints.iterdir()) == []


def test_a_single_bad_gradient_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, calls = Run(tmp_path), []
    original = learner_module.critic_loss

    def once_nan(*args: object) -> object:
        loss, metrics = original(*args)  # type: ignore[arg-type]
        calls.append(loss)
        return (loss * float("nan") if len(calls) == 2 else loss), metrics

    monkeypatch.setattr(learner_module, "critic_loss", once_nan)
    run.go_to(2)
    assert run.trainer._learner.skipped == 1
    assert run.trainer._learner.finite()
    assert run.trainer.remarks == []
    run.trainer.close()


def test_the_final_weights_are_made_up_for_after_a_crash_before_them(whole: Run, tmp_path: Path) -> None:
    """The process died after the last checkpoint: the run counts as finished only with its final weights."""
    import shutil

    folder = RunFolder(tmp_path / "demo")
    shutil.copytree(whole.folder.path, folder.path)
    final = folder.weights / "final.safetensors"
    before = final.read_bytes()
    final.unlink()
    (folder.path / "training.json").unlink()
    Trainer(CONFIG, folder).close()
    assert final.read_bytes() == before
    assert (folder.path / "training.json").is_file()
