"""Training from trials that are there already: which settings fit them, and how they come into a run."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from meld_core.config import Config, load_config
from meld_core.exchange.folders import read_trial, trial_paths
from meld_core.storage.files import write_atomic
from meld_core.storage.run_folder import RunError, RunFolder
from meld_core.storage.spool import SUFFIX
from meld_core.storage.trial_file import TrialError
from meld_core.trainer import Trainer
from meld_core.types import Source, Trial

FACTS = "data.json"
"""Written into the run's folder once all of its data is there."""


class DataError(ValueError):
    """These trials cannot be trained on; the text is one clear sentence."""


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Files of trials to train on."""

    folders: tuple[Path, ...]
    paths: tuple[Path, ...]

    @staticmethod
    def of(folders: Sequence[Path]) -> DataSet:
        """The trials of several folders; of a run's folder those that its learner had.

        Raises:
            TrialError: where a folder holds none.
        """
        paths = [path for folder in folders for path in _paths(folder)]
        return DataSet(tuple(folders), tuple({path.name: path for path in paths}.values()))

    def config(self) -> Config | None:
        """The settings that the first folder with any was made with."""
        for folder in self.folders:
            for path in (folder / "config.yaml", folder.parent / "config.yaml"):
                if path.is_file() and (path.parent == folder or folder.name == "replay"):
                    return load_config([path])
        return None


def _paths(folder: Path) -> list[Path]:
    replay = folder / "replay"
    return trial_paths(replay if any(replay.glob(f"*{SUFFIX}")) else folder)


def adapted(config: Config, data: DataSet, on_trial: Callable[[], None] = lambda: None) -> Config:
    """The schedule for a fixed data set: pretraining and rounds as often as if its trials were being collected.

    All trials are there from the first update; as many as were not by the policy count as initial ones.

    Raises:
        DataError, TrialError: on a trial that cannot be trained on under these settings.
    """
    sources: Counter[int] = Counter()
    for path in data.paths:
        trial = read_trial(path)
        check_fits(trial, config)
        sources[int(trial.rows["source"][0])] += not trial.meta.aborted
        on_trial()
    demonstrated, random = sources[Source.SCRIPT] + sources[Source.HUMAN], sources[Source.RANDOM]
    if not sources.total():
        raise DataError(f"{', '.join(map(str, data.folders))}: every trial was aborted, none is whole")
    train = dataclasses.replace(
        config.train, trials=sources.total(), demonstrations=demonstrated, random_trials=random, fixed_data=True
    )
    return dataclasses.replace(config, train=train)


def check_fits(trial: Trial, config: Config) -> None:
    """Raise DataError unless a learner with this config can learn from the trial."""
    split = trial.meta.task["split"]
    if split != "train":
        raise DataError(f"trial {trial.meta.id} is of the split '{split}'; only 'train' may be learned from")
    size, rows = config.sim.image_size, trial.rows
    wanted = {
        "pictures (sim.views, sim.image_size)": (len(config.sim.views) * size, size),
        "ports (task.ports)": config.task.ports,
    }
    came = {
        "pictures (sim.views, sim.image_size)": rows["image"].shape[1:3],
        "ports (task.ports)": len(trial.meta.task.get("ports", ())),
    }
    for what, value in wanted.items():
        if came[what] != value:
            raise DataError(f"trial {trial.meta.id} has {what} {came[what]}, these settings have {value}")
    longest = {"task.episodes": int(rows["episode"].max()) + 1, "task.horizon": int(rows["step"].max())}
    for name, value in longest.items():
        most = getattr(config.task, name.partition(".")[2])
        if value > most:
            raise DataError(f"trial {trial.meta.id} needs {name} of {value} or more, these settings have {most}")


def take_in(config: Config, folder: RunFolder, data: DataSet, on_trial: Callable[[], None] = lambda: None) -> int:
    """Copy all trials into the run's replay; may be repeated. Returns how many there are.

    Raises:
        TrialError: where two folders hold different trials under one id.
        StorageError: where the disk refuses.
    """
    with folder.lock():
        trainer = Trainer(config, folder)
        try:
            for path in data.paths:
                try:
                    trainer.ingest(path.read_bytes())
                except TrialError as error:
                    raise DataError(f"{path}: {error}") from None
                on_trial()
        finally:
            trainer.close()
    facts = {"folders": [str(path.resolve()) for path in data.folders], "trials": len(data.paths)}
    write_atomic(folder.path / FACTS, json.dumps(facts, indent=2).encode())
    return len(data.paths)


def check_taken_in(folder: RunFolder) -> None:
    """Raise RunError where the data of a run from data did not all get there."""
    if not (folder.path / FACTS).is_file():
        raise RunError(
            f"run {folder.path} was stopped before its data was there; say --from-data DIR again, with --resume"
        )
