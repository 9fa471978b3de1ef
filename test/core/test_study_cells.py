"""Cells of a study: they stop and go on, are run again when they changed, and say why they failed."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from meld_core.metrics import read_rows
from meld_core.storage.files import make_folder
from meld_core.study.cell import Cell, change_of, is_finished
from meld_core.study.results import raw_trials, read_row
from meld_core.study.runner import Runner
from meld_core.study.table import Settings, Study, StudyError, read_study
from meld_core.study.work import kept_trials, run_cell
from meld_core.weights import FINAL, load_weights
from meld_ros.commands.study import cells_of

from .learning import TINY
from .study_builder import written

SMALL = f"""
about: small
common: [{", ".join(f"'{text}'" for text in (*TINY, "learner.threads=1", "eval.trials=3", "train.checkpoint_every=2"))}]
rows:
  default: {{seeds: [0]}}
  cleared: {{seeds: [0], weights_of: default, evaluate: [eval.clear_belief=true], against: default}}
  wide: {{seeds: [0], weights_of: default, evaluate: [task.ports=4]}}
  search: {{seeds: [0], agent: search}}
"""


class StopAfter(threading.Event):
    """Looks set from the n-th look on."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left = looks

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def small_study(folder: Path, out: Path) -> tuple[Study, dict[str, Cell]]:
    study = read_study(written(folder, SMALL))
    return study, {cell.name: cell for cell in cells_of(study, study.selected(()), out, smoke=False)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, Cell]]:
    """Three finished cells of a small study."""
    folder = tmp_path_factory.mktemp("study")
    study, cells = small_study(folder, folder / "out")
    for name in ("default", "cleared", "wide"):
        assert run_cell(cells[name], threading.Event(), "test")
    return study, cells


def test_a_finished_cell_keeps_raw_trials_and_weights_but_no_replay(finished: tuple[Study, dict[str, Cell]]) -> None:
    cell = finished[1]["default"]
    assert sorted(kept_trials(cell.evaluation)) == [0, 1, 2]
    assert not cell.folder.replay.exists()
    assert [path.name for path in cell.folder.weights.iterdir()] == [FINAL]
    facts = cell.facts() or {}
    assert facts["weights_sha256"] == load_weights(cell.folder.weights / FINAL).digest
    assert facts["ended_by"] == "schedule"
    assert "rewards.py" in facts["code"]
    assert not {"success", "rate", "episodes"} & set(facts)


def test_an_interrupted_cell_goes_on_to_the_same_weights_and_the_same_trials(
    finished: tuple[Study, dict[str, Cell]], tmp_path: Path
) -> None:
    """Stopped in the training, then in the evaluation, then left to its end."""
    _, cells = small_study(tmp_path, tmp_path / "out")
    cell, whole = cells["default"], finished[1]["default"]
    assert not run_cell(cell, StopAfter(5), "test")
    assert 0 < len(read_rows(cell.folder.path, "trial")) < 6
    assert not is_finished(cell)
    assert not run_cell(cell, _stop_in_evaluation(cell), "test")
    assert 0 < len(kept_trials(cell.evaluation)) < 3
    assert run_cell(cell, threading.Event(), "test")
    assert is_finished(cell)
    ours, theirs = (load_weights(c.folder.weights / FINAL) for c in (cell, whole))
    assert ours.digest == theirs.digest
    for mine, other in zip(raw_trials(cell, ours.digest), raw_trials(whole, ours.digest), strict=True):
        for name in ("action", "image", "tool_position", "success"):  # not the stamps: each process has its own clock
            assert np.array_equal(mine.rows[name], other.rows[name]), (name, mine.meta.id)


def _stop_in_evaluation(cell: Cell) -> threading.Event:
    """Looks set as soon as one raw trial is there."""

    class Stop(threading.Event):
        def is_set(self) -> bool:
            return bool(kept_trials(cell.evaluation))

    return Stop()


def test_what_changed_is_run_again_and_the_old_is_set_aside(
    finished: tuple[Study, dict[str, Cell]], tmp_path: Path
) -> None:
    cell = finished[1]["default"]
    other = dataclasses.replace(
        cell.settings.training, train=dataclasses.replace(cell.settings.training.train, trials=9)
    )
    changed = dataclasses.replace(cell, settings=Settings(other, cell.settings.evaluation))
    assert change_of(cell) == ""
    assert change_of(changed) == "train.trials was 6, is 9"
    assert not is_finished(changed)
    study = Study("s", "", {"default": cell.row})
    assert read_row(study, "default", [changed]).missing == {0: "not run since it changed (train.trials was 6, is 9)"}


def test_weights_that_do_not_fit_the_bench_are_said_and_not_bent(finished: tuple[Study, dict[str, Cell]]) -> None:
    study, cells = finished
    row = read_row(study, "wide", [cells["wide"]])
    assert "task.ports=3, this config has 4" in row.refusal
    assert not kept_trials(cells["wide"].evaluation)


def test_a_row_that_builds_on_nothing_finished_is_refused(tmp_path: Path) -> None:
    _, cells = small_study(tmp_path, tmp_path / "out")
    with pytest.raises(StudyError, match="builds on row 'default', which is not finished: add it to --rows"):
        Runner([cells["cleared"]], 1, 12.0, "test")


def test_workers_run_cells_and_say_why_one_failed(tmp_path: Path) -> None:
    """The default cannot make its folder; what builds on it fails with it; the search runs; nothing is left over."""
    _, cells = small_study(tmp_path, tmp_path / "out")
    make_folder(cells["default"].folder.path)
    (cells["default"].folder.path / "replay").write_text("in the way")
    runner = Runner(list(cells.values()), 2, 12.0, "test")
    runner.run(threading.Event())
    assert "replay" in runner.failed["default (seed 0)"]
    assert runner.failed["cleared (seed 0)"] == "builds on default (seed 0), which failed"
    assert [cell.name for cell in runner.finished] == ["search"]
    assert not runner.waiting
    assert not runner.running
    assert Runner([cells["search"]], 1, 12.0, "test").complete


def test_what_changed_is_set_aside_before_a_display_can_read_it(tmp_path: Path) -> None:
    _, cells = small_study(tmp_path, tmp_path / "out")
    search = cells["search"]
    assert run_cell(search, threading.Event(), "test")
    fewer = dataclasses.replace(search.settings.evaluation.eval, trials=2)
    settings = Settings(search.settings.training, dataclasses.replace(search.settings.evaluation, eval=fewer))
    seen = list[list[object]]()
    runner = Runner([dataclasses.replace(search, settings=settings)], 1, 12.0, "test")

    def look() -> None:
        if runner.running or runner.finished:
            seen.append([row["total"] for row in read_rows(search.folder.path, "status")])

    runner.run(threading.Event(), look)
    assert seen[-1][-1] == 2, seen
    assert not any(3 in totals for totals in seen), seen


def test_a_cell_whose_folder_cannot_be_made_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    _, cells = small_study(tmp_path, tmp_path / "out")
    make_folder(tmp_path / "out")
    cells["default"].folder.path.write_text("in the way")
    runner = Runner([cells["default"], cells["search"]], 1, 12.0, "test")
    runner.run(threading.Event())
    assert str(cells["default"].folder.path) in runner.failed["default (seed 0)"]
    assert [cell.name for cell in runner.finished] == ["search"]


def test_nothing_is_started_once_stopped_or_over_budget(tmp_path: Path) -> None:
    _, cells = small_study(tmp_path, tmp_path / "out")
    stop = threading.Event()
    stop.set()
    runner = Runner([cells["search"]], 1, 12.0, "test")
    runner.run(stop)
    poor = Runner([cells["search"]], 1, 0.0, "test")
    poor.run(threading.Event())
    assert (len(runner.waiting), runner.over_budget) == (1, False)
    assert (len(poor.waiting), poor.over_budget) == (1, True)
    assert not cells["search"].folder.path.exists()
