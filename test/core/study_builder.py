"""Small studies for tests: a table in a file, and finished cells whose raw trials tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scored_trials import two_episodes

from meld_core.config import load_config
from meld_core.storage.files import make_folder
from meld_core.storage.trial_file import encode_trial
from meld_core.study.cell import Cell, plans_of, write_facts
from meld_core.study.table import Row, Settings, Study
from meld_core.types import Trial


def written(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def told_cell(out: Path, name: str, seed: int, second: Sequence[bool], **row: object) -> Cell:
    """A finished cell whose raw trials tell: episode 1 fails, episode 2 succeeds where `second` says so."""
    config = load_config(overrides=[f"eval.trials={len(second)}", f"train.seed={seed}"])
    cell = Cell(name, seed, Row(seeds=(seed,), agent="untrained", **row), Settings(config, config), out)  # type: ignore[arg-type]
    make_folder(cell.evaluation)
    plans = plans_of(cell)
    for plan, hit in zip(plans, np.repeat(second, len(plans) // len(second)).tolist(), strict=True):
        trial = two_episodes(False, hit, live=plan.task.live, counter=plan.index)
        meta = dataclasses.replace(trial.meta, task=plan.task.to_json(), weights_digest="")
        store(cell, dataclasses.replace(trial, meta=meta))
    facts = {"ended_by": "", "weights_sha256": "", "does_not_apply": "", "commit": "a" * 40, "dirty": False}
    write_facts(cell, {**facts, "command": "told", "finished": "2026-01-01T00:00:00+00:00"})
    return cell


def by_us(cell: Cell) -> Cell:
    """The same cell of a row whose agent is trained."""
    ours = dataclasses.replace(cell, row=dataclasses.replace(cell.row, agent="ours"))
    if (facts := cell.facts()) is not None:
        write_facts(ours, {name: value for name, value in facts.items() if name != "recipe"})
    return ours


def store(cell: Cell, trial: Trial) -> None:
    (cell.evaluation / f"{trial.meta.id}.safetensors").write_bytes(encode_trial(trial))


def told_study(out: Path) -> tuple[Study, list[Cell]]:
    """Default: 9 of 10 and 10 of 10 in episode 2; control: 5 of 10 and 4 of 10 on the same tasks."""
    hits = {"default": (9, 10), "control": (5, 4)}
    cells = []
    for name, numbers in hits.items():
        against = "default" if name == "control" else ""
        cells += [told_cell(out, name, s, [i < n for i in range(10)], against=against) for s, n in enumerate(numbers)]
    rows = {name: dataclasses.replace(cells[2 * i].row, seeds=(0, 1)) for i, name in enumerate(hits)}
    rows["later"] = Row(shows="Not run yet.", seeds=(0,))
    config = load_config()
    cells.append(Cell("later", 0, rows["later"], Settings(config, config), out))
    return Study("told", "Told trials.", rows), cells
