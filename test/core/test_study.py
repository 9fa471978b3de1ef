"""A study: its table, cells that stop and go on, and a page that is scored from the raw trials and nothing else."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scored_trials import two_episodes

from meld_core.config import ConfigError, load_config
from meld_core.metrics import read_rows
from meld_core.schedule import held_out_plans
from meld_core.storage.files import make_folder
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.trial_file import decode_trial, encode_trial
from meld_core.study.cell import Cell, change_of, is_finished, write_facts
from meld_core.study.effort import cpu_total, time_line, wall_total
from meld_core.study.goals import goals
from meld_core.study.report import write_results
from meld_core.study.results import difference, raw_trials, read_row
from meld_core.study.runner import Runner
from meld_core.study.table import Row, Settings, Study, StudyError, read_study, settings_of
from meld_core.study.work import Limit, kept_trials, run_cell
from meld_core.train import train_in_process
from meld_core.types import Trial
from meld_core.weights import FINAL, load_weights
from meld_ros.cli import main
from meld_ros.commands.study import cells_of, open_study, sweep_rows
from meld_ros.share import config_file

from .learning import TINY, tiny_config


def written(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# ---- the table


def test_every_row_of_the_shipped_study_resolves(tmp_path: Path) -> None:
    """Names of settings and files, and networks that fit the weights which they are given."""
    study = open_study("insertion")
    cells = {(cell.name, cell.seed): cell for cell in cells_of(study, study.selected(()), tmp_path, smoke=False)}
    assert {"default", "belief_cleared", "no_reward", "long_run", "search", "oracle"} <= set(study.rows)
    long, default = (cells[name, 0].settings.training for name in ("long_run", "default"))
    assert long.train.trials == 3 * default.train.trials
    assert default.reward.training == "sparse"
    assert cells["belief_cleared", 2].settings.evaluation.eval.clear_belief
    assert cells["belief_cleared", 2].settings.training == cells["default", 2].settings.training
    no_reward = cells["no_reward", 1].settings.training
    assert (no_reward.model.observe_reward, no_reward.task.episode_form) == (False, "fixed_length")
    assert {cell.settings.evaluation.eval.trials for cell in cells.values()} == {200}
    assert all(cell.settings.training.train.seed == seed for (_, seed), cell in cells.items())


def test_every_kind_of_row_is_in_the_miniature(tmp_path: Path) -> None:
    whole, study = open_study("insertion"), open_study("insertion", smoke=True)
    assert {row.agent for row in study.rows.values()} == {row.agent for row in whole.rows.values()}
    assert {row.group for row in study.rows.values()} == {"main", "ablation", "sweep"}
    assert {row.config for row in study.rows.values()} == {row.config for row in whole.rows.values()}
    cells = cells_of(study, study.selected(()), tmp_path, smoke=True)
    assert all(cell.settings.training.sim.image_size <= 64 for cell in cells)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("{a: {weights_of: b}, b: {}}", "row 'a' builds on 'b', which has to stand above it"),
        ("{a: {seeds: [0]}, b: {seeds: [0, 1], steps_of: a}}", r"lacks its seeds \[1\]"),
        ("{a: {agent: oracle}, b: {weights_of: a}}", "takes the weights of 'a', which trains none"),
        ("{a: {}, b: {against: aa}}", "no row 'aa'; did you mean 'a'"),
        ("{a: {sets: []}}", "row 'a': unknown setting 'sets'; did you mean 'set'"),
        ("{a: {agent: orakel}}", "did you mean 'oracle'"),
    ],
)
def test_a_table_that_does_not_fit_together_is_one_sentence(tmp_path: Path, rows: str, sentence: str) -> None:
    with pytest.raises((StudyError, ConfigError), match=sentence):
        read_study(written(tmp_path, f"rows: {rows}"))


def test_rows_and_seeds_are_chosen_in_the_order_of_the_table(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, "rows: {a: {}, b: {seeds: [1]}, c: {seeds: [0]}}"))
    assert study.selected(["c", "a"]) == [("a", 0), ("a", 1), ("a", 2), ("c", 0)]
    assert study.selected([], [1]) == [("a", 1), ("b", 1)]
    with pytest.raises(StudyError, match="no row 'd'"):
        study.selected(["d"])
    with pytest.raises(StudyError, match="none of the rows has one of the seeds"):
        study.selected(["c"], [2])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["study", "insert"], "there is no 'insert' in config/studies; did you mean 'insertion'?"),
        (["study", "insertion", "--rows", "defult"], "has no row 'defult'; did you mean 'default'?"),
        (["study", "insertion", "--rows", "belief_cleared"], "builds on row 'default', which is not finished"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_a_condition_of_the_sweep_is_a_row_of_the_defaults_weights() -> None:
    row = sweep_rows()["sweep_clearance_3_mm"]
    assert (row.weights_of, row.evaluate) == ("default", ("task.clearance=0.003",))


# ---- what it costs


def test_time_is_summed_over_sessions() -> None:
    """Two sessions of training (the first of two marks), one of evaluation between them."""

    def mark(session: int, phase: str, steps: int, seconds: int) -> dict[str, object]:
        return {"session": session, "phase": phase, "steps": steps, "wall": 2.0 * seconds, "cpu": 1.0 * seconds}

    marks = [mark(0, "t", 10, 3), mark(0, "t", 20, 5), mark(1, "e", 0, 100), mark(2, "t", 30, 4)]
    assert (cpu_total(marks, "t"), wall_total(marks, "t"), cpu_total(marks)) == (9.0, 18.0, 109.0)
    assert list(time_line(marks, "t")) == [(10, 6.0, 3.0), (20, 10.0, 5.0), (30, 18.0, 9.0)]


def test_a_limit_names_what_ends_the_training() -> None:
    limit = Limit(cpu=60.0, steps=100.0)
    assert [limit.reached(99, 59.0), limit.reached(100, 59.0), limit.reached(99, 60.0)] == ["", "steps", "CPU time"]
    assert Limit(cpu=0.0, steps=0.0).reached(10**9, 1e9) == ""


def test_a_training_that_was_ended_by_a_budget_stays_ended(tmp_path: Path) -> None:
    """The final weights are those of the end; asking again trains nothing more."""
    config = tiny_config()
    folder = RunFolder(tmp_path / "x").create(config)
    assert train_in_process(config, folder, watch=lambda steps: steps >= 15)
    rows = read_rows(folder.path, "trial")
    assert max(row["steps"] for row in rows[:-1]) < 15 <= rows[-1]["steps"]
    assert len(rows) < config.train.trials
    final = load_weights(folder.weights / FINAL)
    assert json.loads((folder.path / "training.json").read_text())["steps"] == rows[-1]["steps"]
    assert train_in_process(config, folder)
    assert read_rows(folder.path, "trial") == rows
    assert load_weights(folder.weights / FINAL).digest == final.digest


# ---- cells

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


# ---- results


def told_cell(out: Path, name: str, seed: int, second: Sequence[bool], **row: object) -> Cell:
    """A finished cell whose raw trials tell: episode 1 fails, episode 2 succeeds where `second` says so."""
    config = load_config(overrides=[f"eval.trials={len(second)}", f"train.seed={seed}"])
    cell = Cell(name, seed, Row(seeds=(seed,), agent="untrained", **row), Settings(config, config), out)  # type: ignore[arg-type]
    make_folder(cell.evaluation)
    for plan, hit in zip(held_out_plans(config, len(second), config.eval.task_seed), second, strict=True):
        trial = two_episodes(False, hit, live=plan.task.live, counter=plan.index)
        meta = dataclasses.replace(trial.meta, task=plan.task.to_json(), weights_digest="")
        store(cell, dataclasses.replace(trial, meta=meta))
    facts = {"ended_by": "", "weights_sha256": "", "does_not_apply": "", "commit": "a" * 40, "dirty": False}
    write_facts(cell, {**facts, "command": "told", "finished": "2026-01-01T00:00:00+00:00"})
    return cell


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


def test_the_page_says_what_the_raw_trials_say(tmp_path: Path) -> None:
    study, cells = told_study(tmp_path / "out")
    report = write_results(study, cells, tmp_path / "docs", command="meld study told", budget=12.0)
    page = report.page.read_text(encoding="utf-8")
    figures = json.loads((tmp_path / "docs" / "results.json").read_text(encoding="utf-8"))
    assert figures["default.all.episode2.success"] == pytest.approx(0.95)
    assert figures["default.seed0.episode2.success"] == pytest.approx(0.9)
    assert figures["control.all.episode2.success"] == pytest.approx(0.45)
    assert figures["later.state"] == "not run"
    assert "| default | 0, 1 | - | - | 0.000 [0.00, 0.16] | 0.950 [0.76, 0.99] |" in page
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
    path.unlink()
    with pytest.raises(StudyError, match=r"lacks, or should not hold, the trials \[4\]"):
        raw_trials(cell, "")


def test_differences_are_paired_by_seed_and_task(tmp_path: Path) -> None:
    """20 pairs: both 9, only the default 10, neither 1; only the first seed where the other row has only that."""
    study, cells = told_study(tmp_path / "out")
    default, control = (read_row(study, name, [c for c in cells if c.name == name]) for name in ("default", "control"))
    found = difference(default, control, "success", 1)
    assert found is not None
    assert found[0] == pytest.approx(0.5)
    assert found[1][0] > 0.2
    one = difference(default, dataclasses.replace(control, cells=control.cells[:1]), "success", 1)
    assert one is not None
    assert one[0] == pytest.approx(0.4)


def test_goals_are_reached_or_not_by_the_pooled_rate(tmp_path: Path) -> None:
    study, cells = told_study(tmp_path / "out")
    rows = {name: read_row(study, name, [c for c in cells if c.name == name]) for name in study.rows}
    found = {goal.text: goal for goal in goals(rows)}
    assert found["success in episode 2"].reached is True
    assert found["success in episode 2"].measured == "0.95 (seeds: 0.9, 1)"
    assert found["its Wilson lower bound"].reached is False
    assert found["success in episode 1"].reached is False
    assert found["success again within 2 episodes of a move of the live port"].reached is None


def test_settings_of_the_evaluation_leave_the_training_alone(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, "rows: {a: {seeds: [0], evaluate: [sim.image_noise=8.0], trials: 2.0}}"))
    settings = settings_of(study, "a", 0, config_file)
    assert (settings.training.sim.image_noise, settings.evaluation.sim.image_noise) == (0.0, 8.0)
    assert settings.evaluation.train == settings.training.train


def test_the_page_names_the_command_that_makes_it_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folders of one machine are none of a reader's business."""
    docs = tmp_path / "docs"
    assert main(["study", "insertion", "--report", "--out", str(tmp_path / "out"), "--docs", str(docs)]) == 0
    page = (docs / "RESULTS.md").read_text()
    assert "- command: `meld study insertion --report`\n" in page
    assert "- cells (row and seed) finished: 0 of " in page
    assert str(tmp_path) not in page
