"""The certificate of a held-out evaluation: what was measured, on what, with which weights, against which controls."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from meld_core.config import Config
from meld_core.evaluation.intervals import paired_difference, wilson
from meld_core.evaluation.readaptation import readaptation
from meld_core.evaluation.scoring import Evaluation
from meld_core.json_text import parse_object
from meld_core.storage.files import write_atomic

SCHEMA = "meld_ros/certificate/1"
MEASURES = ("success", "first_attempt")
CONTROLS = {
    "untrained": "the initial weights, acting with sampled actions",
    "belief_cleared": "the same weights, the belief forgotten between episodes",
}

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "schema": str,
    "simulated": bool,
    "scored_by": str,
    "robot": str,
    "task": str,
    "split": str,
    "split_hash": str,
    "task_seed": int,
    "trials": int,
    "belief": str,
    "greedy": bool,
    "reward_training": str,
    "chance_first_attempt": float,
    "episodes": dict,
    "outcomes": dict,
    "controls": dict,
    "weights": dict,
    "first_learner_update_step": (int, type(None)),
    "process_ids": dict,
    "config_sha256": str,
    "git_commit": (str, type(None)),
    "git_dirty": (bool, type(None)),
    "command": str,
    "created": str,
}


class CertificateError(ValueError):
    """This is no valid certificate; the text is one clear sentence."""


def make_certificate(
    evaluation: Evaluation,
    config: Config,
    *,
    command: str,
    process_ids: Mapping[str, int] | None = None,
    controls: Mapping[str, Evaluation] | None = None,
    first_learner_update_step: int | None = None,
) -> dict[str, Any]:
    """Everything that a reader needs to judge or repeat an evaluation, as plain JSON types.

    Args:
        evaluation: Of the weights that are certified.
        config: Of the run.
        command: How the evaluation was started.
        process_ids: Name → process id of everything that took part.
        controls: Evaluations on the same tasks, by a name of CONTROLS.
        first_learner_update_step: Steps that the run had made when its learner first changed the weights.

    Raises:
        CertificateError: where a control was evaluated on other tasks.
    """
    commit, dirty = git_state(Path(__file__).parent.parent)
    return {
        "schema": SCHEMA,
        "simulated": config.robot.kind == "mujoco",
        "scored_by": "truth" if evaluation.has_truth else "detector",
        "robot": config.robot.name,
        "task": config.task.name,
        **_tasks_of(evaluation),
        "belief": evaluation.belief,
        "greedy": evaluation.greedy,
        "reward_training": config.reward.training,
        "chance_first_attempt": 1.0 / config.task.ports,
        "episodes": evaluation.statistics(),
        "outcomes": _outcomes(evaluation),
        **_readaptation(evaluation, config),
        "controls": {name: _control(evaluation, control, name, config) for name, control in (controls or {}).items()},
        "weights": _weights_of(evaluation),
        "first_learner_update_step": first_learner_update_step,
        "process_ids": {"evaluation": os.getpid(), **(process_ids or {})},
        "config_sha256": config.digest(),
        "git_commit": commit,
        "git_dirty": dirty,
        "command": command,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _tasks_of(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "split": evaluation.split,
        "split_hash": evaluation.split_hash,
        "task_seed": evaluation.task_seed,
        "trials": len(evaluation.scores),
    }


def _weights_of(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "version": evaluation.weights_version,
        "sha256": evaluation.weights_digest,
        "trained_through_trial": evaluation.trained_through_trial,
    }


def _outcomes(evaluation: Evaluation) -> dict[str, dict[str, str]]:
    """Per episode and measure one character per task, 1 or 0: whoever doubts a comparison can repeat it."""
    return {
        str(episode + 1): {
            measure: "".join("01"[hit] for hit in evaluation.outcomes(measure, episode)) for measure in MEASURES
        }
        for episode in range(evaluation.episodes)
    }


def _readaptation(evaluation: Evaluation, config: Config) -> dict[str, Any]:
    """`readaptation` where the live port may move between episodes: see `readaptation.readaptation`."""
    moves = config.task.switch_probability > 0.0
    return {"readaptation": readaptation(evaluation.scores, evaluation.episodes)} if moves else {}


def _control(ours: Evaluation, control: Evaluation, name: str, config: Config) -> dict[str, Any]:
    if _tasks_of(ours) != _tasks_of(control) or ours.episodes != control.episodes:
        raise CertificateError(f"control '{name}' was evaluated on other tasks, so that nothing can be paired")
    return {
        "meaning": CONTROLS[name],
        "belief": control.belief,
        "greedy": control.greedy,
        "weights": _weights_of(control),
        "episodes": control.statistics(),
        "outcomes": _outcomes(control),
        **_readaptation(control, config),
        "paired": {str(episode + 1): compare(ours, control, episode) for episode in range(ours.episodes)},
    }


def compare(ours: Evaluation, control: Evaluation, episode: int) -> dict[str, dict[str, Any]]:
    """Paired comparison of one episode, per measure: see `intervals.PairedDifference`."""
    compared = {}
    for measure in MEASURES:
        pair = paired_difference(ours.outcomes(measure, episode), control.outcomes(measure, episode))
        plain = {**dataclasses.asdict(pair), "interval95": list(pair.interval95)}
        compared[measure] = {**plain, "excludes": pair.excludes}
    return compared


def write_certificate(certificate: Mapping[str, Any], path: Path) -> None:
    """Check and write a certificate; the file is either the old or the new one, never half of one.

    Raises:
        CertificateError: where `load_certificate` would refuse it.
        StorageError: where the disk refuses.
    """
    check_certificate(certificate, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(certificate, indent=2, allow_nan=False) + "\n").encode())


def load_certificate(path: Path) -> dict[str, Any]:
    """Read a certificate.

    Raises:
        CertificateError: where the file is missing, of another schema, or its numbers contradict each other.
    """
    try:
        raw = parse_object(path.read_bytes())
    except FileNotFoundError:
        raise CertificateError(f"there is no certificate {path}; `meld eval --run DIR` writes one") from None
    except ValueError:
        raise CertificateError(f"{path} is not JSON, so it is no certificate") from None
    check_certificate(raw, str(path))
    return dict(raw)


def check_certificate(raw: Any, where: str) -> None:
    """Raise CertificateError unless all fields are there, of their types, and rates follow from counts."""
    if not isinstance(raw, Mapping) or raw.get("schema") != SCHEMA:
        found = raw.get("schema") if isinstance(raw, Mapping) else type(raw).__name__
        raise CertificateError(f"{where} is of schema {found!r}, expected '{SCHEMA}'")
    for name, kind in _FIELDS.items():
        if name not in raw:
            raise CertificateError(f"{where} lacks '{name}'")
        if not isinstance(raw[name], kind) or (isinstance(raw[name], bool) and kind is int):
            raise CertificateError(f"{where} has {name}={raw[name]!r}, which is not of the right type")
    try:
        _check_parts(raw, where)
    except (AttributeError, KeyError, TypeError) as error:
        raise CertificateError(f"{where} has a part that is not built like a certificate's ({error})") from None


def _check_parts(raw: Mapping[str, Any], where: str) -> None:
    for label, part in {"": raw, **raw["controls"]}.items():
        for episode, numbers in part["episodes"].items():
            _check_episode(numbers, raw["trials"], f"{where}: {label} episode {episode}")
        for name, numbers in part.get("readaptation", {}).items():
            if name.startswith("within") and numbers["trials"]:
                _check_episode(numbers, numbers["trials"], f"{where}: {label} re-adaptation {name}")


def _check_episode(numbers: Mapping[str, Any], trials: int, where: str) -> None:
    try:
        successes, rate, interval = numbers["successes"], numbers["rate"], numbers["wilson95"]
        consistent = numbers["trials"] == trials and math.isclose(rate, successes / trials)
        consistent &= all(map(math.isclose, interval, wilson(successes, trials)))
    except (KeyError, TypeError, ValueError, ArithmeticError):
        consistent = False
    if not consistent:
        raise CertificateError(f"{where}: rate and interval do not follow from the successes of {trials} trials")


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """(commit, whether files differ from it) of a source folder; (None, None) where it is not under git."""
    try:
        # an installed package may lie inside some other repository, which says nothing about it
        _git(folder, "ls-files", "--error-unmatch", "config.py")
        return _git(folder, "rev-parse", "HEAD"), bool(_git(folder, "status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *words: str) -> str:
    run = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True, timeout=20)
    return run.stdout.strip()


def first_learner_update(trials: Iterable[Mapping[str, Any]], learner: Iterable[Mapping[str, Any]]) -> int | None:
    """Steps that a run had made when its learner first changed the weights; None where it never did.

    Args:
        trials: Rows of kind trial.
        learner: Rows of kind learner.
    """
    steps = {row["trial"]: row.get("steps") for row in trials}
    updated = [row["trial"] for row in learner if (row.get("model_updates") or 0) > 0]
    return steps.get(min(updated)) if updated else None
