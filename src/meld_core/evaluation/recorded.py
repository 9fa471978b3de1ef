"""What an evaluation through the graph left in a run's folder, scored from its files: a bench with a real arm, too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meld_core.config import Config
from meld_core.evaluation.certificate import make_certificate, write_certificate
from meld_core.evaluation.scoring import Evaluation, score_trial
from meld_core.evaluation.workers import EvaluationError
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.spool import SUFFIX
from meld_core.storage.trial_file import TrialError, decode_trial
from meld_core.task_families import make_tasks
from meld_core.types import Trial
from meld_core.weights import latest_weights


def recorded_trials(folder: RunFolder) -> list[Trial]:
    """The newest complete trial of each task that the weights which acted last were tried on, in the order of tasks.

    Trials that were aborted, and so begun again, do not count, nor those of other weights.

    Raises:
        EvaluationError: where there is none, or one cannot be read.
    """
    paths = sorted((folder.evaluation / "pending").glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
    complete = [trial for trial in map(_read, paths) if not trial.meta.aborted]
    if not complete:
        raise EvaluationError(
            f"{folder.evaluation} holds no complete trial; run held-out ones first: meld launch eval run:={folder.name}"
        )
    weights = complete[-1].meta.weights_digest
    newest = {trial.meta.id.counter: trial for trial in complete if trial.meta.weights_digest == weights}
    return [newest[index] for index in sorted(newest)]


def certify_recorded(folder: RunFolder, config: Config, command: str) -> dict[str, Any]:
    """Score what is recorded and write its certificate, `evaluation/certificate.json`; returns it.

    Where trials carry no simulator's truth, the reward detector is the judge, and first attempts are not known.

    Raises:
        EvaluationError: as `recorded_trials`.
        StorageError: where the disk refuses.
    """
    trials = recorded_trials(folder)
    certificate = make_certificate(_evaluation(trials, config, folder), config, command=command)
    write_certificate(certificate, folder.evaluation_certificate)
    return certificate


def _evaluation(trials: Sequence[Trial], config: Config, folder: RunFolder) -> Evaluation:
    first = trials[0].meta
    known = latest_weights(folder.weights) if folder.weights.is_dir() else None
    own = known is not None and known.digest == first.weights_digest
    return Evaluation(
        split=str(first.task["split"]),
        split_hash=make_tasks(config.task).split_hash(),
        task_seed=int(first.task["seed"]),
        episodes=config.task.episodes,
        horizon=config.task.horizon,
        greedy=config.eval.greedy,
        clear_belief=config.eval.clear_belief,
        weights_version=first.weights_version,
        weights_digest=first.weights_digest,
        trained_through_trial=known.trained_through_trial if known is not None and own else -1,
        scores=tuple(score_trial(trial) for trial in trials),
    )


def _read(path: Path) -> Trial:
    try:
        return decode_trial(path.read_bytes())
    except TrialError as error:
        raise EvaluationError(f"{path}: {error}; move it away, or look what is left of it: meld data verify") from None
