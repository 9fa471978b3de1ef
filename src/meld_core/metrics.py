"""Metrics of a run: one JSON object per line in `metrics.jsonl`, TensorBoard beside it.

Every row holds `kind` and `time` [unix seconds]; what is unknown or not a number is null. Kinds:

trial     One finished trial: `trial` (index), `steps` (total of the run so far), `source` (policy, script, random,
          human, mixed), per episode the lists `success`, `detected`, `first_attempt`, `steps_to_success` and
          `episode_steps`, `weights_version`, `weights_age` [trials behind], `aborted` (reason or ""), and, where the
          live port may move between episodes, `moved` per episode. All but `steps` and `weights_age` come from
          `trial_summary(trial)`.
learner   After a round of updates: `trial` (index it follows), `model_updates` and `ac_updates` (totals),
          `replay_ratio` [model updates per 100 steps], `weights_version`, then any number of `model/...`,
          `critic/...`, `actor/...`.
latency   Where the time of a step goes, since the start of policy_node: `trial` (index it follows), `due` (steps),
          in realtime `missed` (of these, late or passed over), `latency/<stage>_<p50|p95|p99|max>_ms` for the stages
          of `step_times.StepTimes`. Not written by a run in one process.
status    What the run is doing: `phase` (demonstrations, pretraining, training, evaluation, finished), `current`,
          `total`; or `note`: a sentence that is shown until another one comes.

A resumed run appends. A trial that was redone after a crash has two rows; the later one counts (`read_rows`).
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from meld_core.evaluation.intervals import wilson
from meld_core.evaluation.scoring import trial_summary
from meld_core.json_text import parse_object

__all__ = ["METRICS_FILE", "Kind", "MetricsError", "MetricsWriter", "RunningMean", "Tail", "read_rows"]
__all__ += ["trial_summary", "wilson"]

METRICS_FILE = "metrics.jsonl"
Kind = Literal["trial", "learner", "latency", "status"]


_NUMBER, _COUNT = (int, float), (int,)
_KINDS: dict[str, tuple[type, ...]] = {
    "kind": (str,), "time": _NUMBER, "trial": _COUNT, "steps": _COUNT, "source": (str,), "success": (list,),
    "first_attempt": (list,), "phase": (str,), "current": _COUNT, "total": _COUNT, "note": (str,),
    "weights_version": _COUNT, "weights_age": _NUMBER, "replay_ratio": _NUMBER,
}  # fmt: skip
"""Types of what a progress display computes with; a row in which one is of another type is damaged."""
_LOG = logging.getLogger(__name__)
_MOST_WAITING = 10_000_000
"""Bytes of rows that are kept for a disk that is full."""


class MetricsError(RuntimeError):
    """A fault of the metrics file that a person can mend; its text is one clear sentence."""


class MetricsWriter:
    """Appends rows to `metrics.jsonl` of a run's folder. One process owns it at a time.

    Args:
        folder: The run's folder; made where missing.
        tensorboard: Also write event files to `tensorboard/`.

    Raises:
        MetricsError: where another process is writing the same file.
    """

    def __init__(self, folder: Path, tensorboard: bool = True) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _open_owned(folder / METRICS_FILE)
        self._waiting = b""
        self._board = _open_board(folder / "tensorboard") if tensorboard else None
        self._steps = _last_steps(folder)

    def write(self, kind: Kind, **values: Any) -> None:
        """Append one row and flush it; names such as 'critic/loss' come by `**metrics`.

        Values are numbers, text, lists or mappings of them, NumPy or torch scalars.
        """
        row = {"kind": kind, "time": time.time(), **plain(values)}
        self._append((json.dumps(row, allow_nan=False) + "\n").encode())
        if kind == "trial" and isinstance(row.get("steps"), int):
            self._steps = row["steps"]
        if self._board is not None and kind != "status":
            try:
                for name, value in _scalars(kind, row):
                    self._board.add_scalar(name, value, self._steps)
            except OSError as error:
                _LOG.warning("no more TensorBoard files in this session: %s", error.strerror)
                self._board = None

    def _append(self, line: bytes) -> None:
        """Rows that a full disk refuses wait in memory: they are no reason to stop."""
        self._waiting += line
        try:
            self._waiting = self._waiting[os.write(self._file.fileno(), self._waiting) :]
        except OSError as error:
            _LOG.warning("cannot write %s: %s", METRICS_FILE, error.strerror)
            self._waiting = self._waiting if len(self._waiting) < _MOST_WAITING else b""

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        if self._waiting and not self._file.closed:
            self._append(b"")
        self._file.close()
        if self._board is not None:
            self._board.close()
            self._board = None

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _open_owned(path: Path) -> Any:
    """Open for appending under an exclusive lock; a half-written last line of a killed owner is cut off."""
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise MetricsError(f"{path} is being written by another process; stop that run or name another one") from None
    whole = path.read_bytes()
    os.ftruncate(file.fileno(), whole.rfind(b"\n") + 1)
    return file


def _open_board(folder: Path) -> Any:
    # importing TensorBoard takes a second, which a reader of metrics need not wait
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def _last_steps(folder: Path) -> int:
    steps = [row.get("steps") for row in read_rows(folder, "trial")]
    return next((value for value in reversed(steps) if isinstance(value, int)), 0)


def plain(value: Any) -> Any:
    """JSON types only: scalars of NumPy and torch become numbers, NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _scalars(kind: str, row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """(name, value) of every number in a row; list elements are named by episode, counted from 1."""
    for name, value in row.items():
        base = name if "/" in name else f"{kind}/{name}"
        parts = {base: value}
        if isinstance(value, list):
            parts = {f"{base}_episode_{i}": part for i, part in enumerate(value, 1)}
        for label, part in parts.items():
            if isinstance(part, int | float) and name != "time":
                yield label, float(part)


class Tail:
    """Reads a growing metrics file: every complete line once; a half-written one when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """Rows that were completed since the last call; lines that are not a JSON object are skipped."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                fresh = file.read()
        except FileNotFoundError:
            return []
        end = fresh.rfind(b"\n") + 1
        self._offset += end
        return [row for line in fresh[:end].splitlines() if (row := _row(line)) is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = parse_object(line)
    except ValueError:
        return None
    return (
        row if "kind" in row and all(_fits(row[name], kinds) for name, kinds in _KINDS.items() if name in row) else None
    )


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a value is of one of these types; a list must hold truth values, or None where one is not known."""
    if isinstance(value, list):
        return list in kinds and all(part is None or isinstance(part, bool) for part in value)
    return value is None or type(value) in kinds


def read_rows(folder: Path, kind: Kind) -> list[dict[str, Any]]:
    """All rows of a kind, in order; of a trial that was redone the later row. Empty where there is no file."""
    return newest([row for row in Tail(Path(folder) / METRICS_FILE).read() if row["kind"] == kind])


def newest(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per trial, the later one; rows without a trial all stay."""
    kept: dict[object, dict[str, Any]] = {}
    for position, row in enumerate(rows):
        kept[row.get("trial", ("row", position))] = row
    return list(kept.values())


class RunningMean:
    """Means of named values since the last `take`, for metrics that arrive more often than they are written.

    Values may be numbers or tensors of one element, which are read no sooner than at `take`: a GPU is not waited for.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[Any]] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        """Count one set of values; names may differ from call to call."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        """The means, without what is not finite; forgets everything."""
        means = {}
        for name, values in self._values.items():
            known = [number for number in _numbers(values) if math.isfinite(number)]
            if known:
                means[name] = sum(known) / len(known)
        self._values = {}
        return means


def _numbers(values: list[Any]) -> list[float]:
    """As floats; tensors of a device come in one piece."""
    if all(hasattr(value, "is_cuda") and value.is_cuda for value in values):
        import torch

        return [float(number) for number in torch.stack(values).tolist()]
    return [float(value) for value in values]
