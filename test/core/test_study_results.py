"""A study's page: scored from the raw trials and nothing else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from meld_core.evaluation.intervals import Z95, _newcombe
from meld_core.evaluation.scoring import EpisodeScore
from meld_core.storage.trial_file import decode_trial
from meld_core.study.goals import _at_chance, goals
from meld_core.study.report import write_results
from meld_core.study.results import difference, elsewhere, raw_trials, read_row, widest
from meld_core.study.table import StudyError
from meld_core.study.work import kept_trials
from meld_ros.cli import main

from .study_builder import by_us, store, told_study


def test_the_page_says_what_the_raw_trials_say(tmp_path: Path) -> None:
    study, cells = told_study(tmp_path / "out")
    report = write_results(study, cells, tmp_path / "docs", command="meld study told", budget=12.0)
    page = report.page.read_text(encoding="utf-8")
    figures = json.loads((tmp_path / "docs" / "results.json").read_text(encoding="utf-8"))
    assert figures["default.all.episode2.success"] == pytest.approx(0.95)
    assert figures["default.seed0.episode2.success"] == pytest.approx(0.9)
    assert figures["control.all.episode2.success"] == pytest.approx(0.45)
    assert figures["later.state"] == "not run"
    assert "| default | 0, 1 | - | - | 0.000 [0.00, 0.28] | 0.950 [0.76, 0.99] |" in page
    assert "success -0.500 [" in page
    assert "| later | 0 | not run |" in page
    assert "cells (row and seed) finished: 4 of 5" in page
    assert "within the budget of 12 h" in page


def test_a_raw_trial_that_is_tampered_with_changes_the_table(tmp_path: Path) -> None:
    """Figures come from the raw files: a success less in one of them is a success less on the page."""
    study, cells = told_study(tmp_path / "out")
    path = kept_trials(cells[1].evaluation)[3]
    trial = decode_trial(path.read_bytes())
    store(cells[1], dataclasses.replace(trial, truth={**trial.truth, "success": 0.0 * trial.truth["success"]}))
    write_results(study, cells, tmp_path / "docs", command="x", budget=12.0)
    figures = json.loads((tmp_path / "docs" / "results.json").read_text(encoding="utf-8"))
    assert figures["default.seed1.episode2.success"] == pytest.approx(0.9)
    assert figures["default.all.episode2.success"] == pytest.approx(0.9)


def test_raw_trials_that_are_not_the_cells_own_are_refused(tmp_path: Path) -> None:
    _, cells = told_study(tmp_path / "out")
    cell = cells[0]
    path = kept_trials(cell.evaluation)[4]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StudyError, match="remove the file and run the study again"):
        raw_trials(cell, "")
    trial = decode_trial(data)
    store(cell, dataclasses.replace(trial, meta=dataclasses.replace(trial.meta, weights_digest="f" * 64)))
    with pytest.raises(StudyError, match="another task or other weights"):
        raw_trials(cell, "")
    other_port = {**trial.meta.task, "live": (trial.meta.task["live"] + 1) % 3}
    store(cell, dataclasses.replace(trial, meta=dataclasses.replace(trial.meta, task=other_port)))
    with pytest.raises(StudyError, match="another task or other weights"):
        raw_trials(cell, "")
    path.unlink()
    with pytest.raises(StudyError, match=r"lacks, or should not hold, the trials \[4\]"):
        raw_trials(cell, "")


def test_differences_are_paired_by_seed_and_task(tmp_path: Path) -> None:
    """20 pairs: both 9, only the default 10, neither 1; only the first seed where the other row has only that.

    Both seeds say the same of eight of the ten tasks. Off the mean .5 the tasks' sums are four times -1, four times 1
    and twice 0: variance of the mean 8 (10/9) / 20^2 = 1/45, of a pair 1/4, as of 11.25 independent pairs.
    """
    study, cells = told_study(tmp_path / "out")
    default, control = (read_row(study, name, [c for c in cells if c.name == name]) for name in ("default", "control"))
    found = difference(default, control, "success", 1)
    assert found is not None
    assert found[0] == pytest.approx(0.5)
    apart = (9 * 0.5625, 10 * 0.5625, 0.0, 0.5625)
    assert found[1] == pytest.approx(_newcombe(*apart, Z95))
    one = difference(default, dataclasses.replace(control, cells=control.cells[:1]), "success", 1)
    assert one is not None
    assert one[0] == pytest.approx(0.4)


def test_a_row_trained_on_another_machine_than_what_it_is_compared_with_is_marked(tmp_path: Path) -> None:
    """Another machine may train in another precision: then the difference is not the row's alone."""
    study, cells = told_study(tmp_path / "out")
    ours = [by_us(cell) for cell in cells]
    study = dataclasses.replace(study, rows={**study.rows, **{cell.name: cell.row for cell in ours}})
    default, control = (read_row(study, name, [c for c in ours if c.name == name]) for name in ("default", "control"))
    assert not elsewhere(control, default)
    moved = [dataclasses.replace(cell, facts={**cell.facts, "machine": "a laptop"}) for cell in control.cells]
    assert elsewhere(dataclasses.replace(control, cells=(control.cells[0], moved[1])), default)
    assert not elsewhere(dataclasses.replace(control, cells=()), default)
    told = dataclasses.replace(control, cells=tuple(moved), row=dataclasses.replace(control.row, agent="untrained"))
    assert not elsewhere(told, default)


def test_the_widest_row_is_the_one_whose_seeds_differ_most(tmp_path: Path) -> None:
    """Default .9 and 1.0, control .5 and .4: a tenth each; with the control's first seed alone, only the default."""
    study, cells = told_study(tmp_path / "out")
    ours = [by_us(cell) for cell in cells]
    study = dataclasses.replace(study, rows={**study.rows, **{cell.name: cell.row for cell in ours}})
    default, control = (read_row(study, name, [c for c in ours if c.name == name]) for name in ("default", "control"))
    two_of = dataclasses.replace(control, cells=(control.cells[0], default.cells[1]))
    assert widest([default, two_of]) == ("control", pytest.approx(0.5))
    assert widest([default, dataclasses.replace(control, cells=control.cells[:1])]) == ("default", pytest.approx(0.1))
    assert widest([]) == ("", 0.0)


def test_goals_are_reached_or_not_by_the_pooled_rate(tmp_path: Path) -> None:
    study, cells = told_study(tmp_path / "out")
    rows = {name: read_row(study, name, [c for c in cells if c.name == name]) for name in study.rows}
    found = {goal.text: goal for goal in goals(rows)}
    assert found["success in episode 2"].reached is True
    assert found["success in episode 2"].measured == "0.95 (seeds: 0.9, 1)"
    assert found["its Wilson lower bound"].reached is False
    assert found["success in episode 1"].reached is False
    assert found["success again within 2 episodes of a move of the live port"].reached is None


def test_chance_is_judged_among_those_that_entered_a_port(tmp_path: Path) -> None:
    """Three of nine right, and six more that entered none: .2 of all and below chance, 1 in 3 of those that entered."""
    study, cells = told_study(tmp_path / "out")
    row = read_row(study, "default", cells[:1])
    right, wrong = (EpisodeScore(False, False, 9, None, (port,), port == 1) for port in (1, 2))
    nowhere = EpisodeScore(False, False, 9, None, (), False)
    trials = tuple((nowhere, second) for second in [right] * 3 + [wrong] * 6 + [nowhere] * 6)
    cell = dataclasses.replace(row.cells[0], scores=trials, tasks=tuple(map(str, range(15))))
    goal = _at_chance(dataclasses.replace(row, cells=(cell,)), "x")
    assert goal.measured == "0.333 [0.12, 0.65] of 9 that entered a port"
    assert goal.reached is True
    leaky = dataclasses.replace(cell, scores=tuple((nowhere, s) for s in [right] * 8 + [wrong] + [nowhere] * 6))
    assert _at_chance(dataclasses.replace(row, cells=(leaky,)), "x").reached is False


def test_the_page_names_the_command_that_makes_it_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folders of one machine are none of a reader's business."""
    docs = tmp_path / "docs"
    assert main(["study", "insertion", "--report", "--out", str(tmp_path / "out"), "--docs", str(docs)]) == 0
    page = (docs / "RESULTS.md").read_text()
    assert "- command: `meld study insertion --report`\n" in page
    assert "- cells (row and seed) finished: 0 of " in page
    assert str(tmp_path) not in page
