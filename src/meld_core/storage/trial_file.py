"""Trials as bytes: the same on the wire, on disk and in bags. Reading checks everything a learner relies on."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from meld_core.config import Config
from meld_core.storage.tensor_file import FormatError, pack, unpack
from meld_core.types import ROW_FIELDS, Source, Trial, TrialMeta

TRUTH = "truth/"
_BESIDES = 10_000
"""More than a row holds besides its picture, and more than a header [bytes]."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FINITE = ("joints", "velocities", "tool_position", "tool_orientation", "action", "intended_action")


class TrialError(ValueError):
    """This trial cannot be learned from; the text is one clear sentence."""


def encode_trial(trial: Trial) -> bytes:
    """A trial as safetensors bytes; the same trial always gives the same bytes.

    Raises:
        TrialError: where `decode_trial` would refuse the result.
    """
    check_trial(trial)
    return pack("trial", trial.meta.to_json(), columns(trial.rows, trial.truth))


def largest_trial(config: Config) -> int:
    """Bytes that no trial of this config exceeds, give or take its header."""
    rows = config.task.episodes * (config.task.horizon + 1)
    picture = 3 * len(config.sim.views) * config.sim.image_size**2
    return rows * (picture + _BESIDES) + _BESIDES


def decode_trial(data: bytes) -> Trial:
    """Inverse of `encode_trial`; the arrays are read-only and share memory with `data`.

    Raises:
        TrialError: on anything that `encode_trial` could not have written.
    """
    try:
        text, arrays = unpack("trial", data)
        trial = Trial(read_meta(text), *split_columns(arrays))
    except ValueError as error:
        raise TrialError(str(error)) from None
    check_trial(trial)
    return trial


def columns(rows: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows and truth under the names that they have in a file."""
    return {**rows, **{TRUTH + name: array for name, array in truth.items()}}


def split_columns(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inverse of `columns`.

    Raises:
        FormatError: where an array has no rows at all.
    """
    if scalar := [name for name, array in arrays.items() if array.ndim == 0]:
        raise FormatError(f"trial arrays {scalar!a} are single numbers, expected one entry per row")
    rows = {name: array for name, array in arrays.items() if not name.startswith(TRUTH)}
    truth = {name.removeprefix(TRUTH): array for name, array in arrays.items() if name.startswith(TRUTH)}
    return rows, truth


def read_meta(text: str) -> TrialMeta:
    """The header of a trial; its id is safe as a file name.

    Raises:
        FormatError: on a missing, unknown or mistyped field.
    """
    try:
        meta = TrialMeta.from_json(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the trial's header is not readable: {str(error)[:160]!a}") from None
    check_meta(meta)
    return meta


def check_meta(meta: TrialMeta) -> None:
    """Raise FormatError unless all fields have their types and the id can be a file name."""
    for name in ("robot", "run", "boot"):
        value = getattr(meta.id, name)
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise FormatError(f"trial id has {name}={value!a}, expected up to 64 of A-Z a-z 0-9 _ . -")
    if type(meta.id.counter) is not int or not 0 <= meta.id.counter < 2**31:
        raise FormatError(f"trial id has counter={meta.id.counter!a}, expected a whole number from 0")
    kinds = {"weights_version": int, "weights_digest": str, "aborted": str, "simulated": bool}
    for name, kind in kinds.items():
        if type(getattr(meta, name)) is not kind:
            raise FormatError(f"trial header has {name}={getattr(meta, name)!a}, expected {kind.__name__}")
    if not isinstance(meta.task, Mapping) or not isinstance(meta.task.get("split"), str):
        raise FormatError(f"trial header names no task with a split: {str(meta.task)[:80]!a}")


def check_trial(trial: Trial) -> None:
    """Raise TrialError unless numbers are in range and the flags tell one consistent story."""
    try:
        check_meta(trial.meta)
    except FormatError as error:
        raise TrialError(str(error)) from None
    for problem in (_shape_problem, _number_problem, _reward_problem, _order_problem, _end_problem):
        if text := problem(trial):
            raise TrialError(f"trial {trial.meta.id}: {text}")


def _shape_problem(trial: Trial) -> str:
    """Sizes that `types.check_rows` leaves open must agree between arrays."""
    rows = trial.rows
    for one, other in (("joints", "velocities"), ("action", "intended_action")):
        if rows[one].shape != rows[other].shape:
            return f"{one} {rows[one].shape} and {other} {rows[other].shape} differ in shape"
    empty = [name for name in ROW_FIELDS if rows[name].size == 0]
    return f"{', '.join(empty)} hold no numbers" if empty else ""


def _number_problem(trial: Trial) -> str:
    rows = trial.rows
    for name in _FINITE:
        if bad := _first(~np.isfinite(rows[name])):
            return f"{name} is not finite at row {bad[0]}"
    for name in ("action", "intended_action"):
        if bad := _first(np.abs(rows[name]) > 1.0):
            return f"{name} leaves [-1, 1] at row {bad[0]}: {rows[name][bad[0]].tolist()}"
    if bad := _first(rows["source"] > max(Source)):
        return f"source is {rows['source'][bad[0]]} at row {bad[0]}, expected 0 to {max(Source)}"
    return ""


def _reward_problem(trial: Trial) -> str:
    """NaN exactly where the reward is not valid, so that no zero is ever invented for a missing judgement."""
    rows = trial.rows
    reward, probability, valid = rows["reward"], rows["probability"], rows["reward_valid"]
    if bad := _first(valid & ~(np.isfinite(reward) & (probability >= 0.0) & (probability <= 1.0))):
        row = bad[0]
        return f"row {row} has a valid reward of {reward[row]} with probability {probability[row]}"
    if bad := _first(~valid & ~(np.isnan(reward) & np.isnan(probability) & ~rows["success"])):
        return f"row {bad[0]} has a reward that is not valid, but not NaN or with success"
    if bad := _first(rows["first_in_episode"] & valid & (reward != 0.0)):
        return f"row {bad[0]} is first in its episode but has reward {reward[bad[0]]}, expected 0"
    return ""


def _order_problem(trial: Trial) -> str:
    """One first_in_trial at row 0; steps count up from 0 in each episode, episodes from 0; stamps rise."""
    rows, first = trial.rows, trial.rows["first_in_episode"]
    number = np.arange(len(trial))
    if not first[0] or bool((rows["first_in_trial"] != (number == 0)).any()):
        return "first_in_trial and first_in_episode must hold at row 0, first_in_trial nowhere else"
    if bad := _first(rows["episode"] != np.cumsum(first) - 1):
        return f"episode is {rows['episode'][bad[0]]} at row {bad[0]}, expected {np.cumsum(first)[bad[0]] - 1}"
    steps = number - np.maximum.accumulate(np.where(first, number, 0))
    if bad := _first(rows["step"] != steps):
        return f"step is {rows['step'][bad[0]]} at row {bad[0]}, expected {steps[bad[0]]}"
    stamp = rows["stamp"]
    if bad := _first(stamp <= np.concatenate([np.zeros(1, np.int64), stamp[:-1]])):
        return f"stamp {stamp[bad[0]]} at row {bad[0]} is not later than the one before (and than 0)"
    return ""


def _end_problem(trial: Trial) -> str:
    """How episodes and the trial end. An aborted trial may end with an inner episode, which carries neither flag."""
    rows = trial.rows
    for episode in trial.episodes():
        if episode.stop - episode.start < 2:
            return f"the episode at row {episode.start} has no step"
        if rows["action"][episode.stop - 1].any():
            return f"the action at row {episode.stop - 1}, the last of its episode, is not zero"
    terminal, truncated = rows["terminal"], rows["truncated"]
    if bad := _first((terminal | truncated)[:-1]):
        return f"row {bad[0]} is terminal or truncated but not the last"
    if terminal[-1] and not rows["success"][-1]:
        return "the last row is terminal without success"
    ends = int(terminal[-1]) + int(truncated[-1])
    if ends == 2 or (ends == 0 and not trial.meta.aborted):
        return "the last row must be either terminal or truncated, unless the trial was aborted"
    return ""


def _first(bad: np.ndarray) -> list[int]:
    """[index of the first row with a True], or [] for none."""
    rows = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
    return rows[:1].tolist()
