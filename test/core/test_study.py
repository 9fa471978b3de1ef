"""A study's table, and what its cells cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meld_core.config import ConfigError
from meld_core.metrics import read_rows
from meld_core.storage.run_folder import RunFolder
from meld_core.study.cell import plans_of
from meld_core.study.effort import cpu_total, time_line, wall_total
from meld_core.study.runner import spent
from meld_core.study.table import StudyError, read_study, settings_of
from meld_core.study.work import Limit
from meld_core.train import train_in_process
from meld_core.weights import FINAL, load_weights
from meld_ros.cli import main
from meld_ros.commands.study import cells_of, open_study, sweep_rows
from meld_ros.share import config_file

from .learning import tiny_config
from .study_builder import written

# ---- the table


def test_every_row_of_the_shipped_study_resolves(tmp_path: Path) -> None:
    """Names of settings and files, and networks that fit the weights which they are given."""
    study = open_study("insertion")
    cells = {(cell.name, cell.seed): cell for cell in cells_of(study, study.selected(()), tmp_path, smoke=False)}
    assert {"default", "belief_cleared", "no_reward", "long_run", "search", "oracle"} <= set(study.rows)
    long, default = (cells[name, 0].settings.training for name in ("long_run", "default"))
    assert long.train.trials == 3 * default.train.trials
    like = cells["no_corrections", 0].settings.training  # another row, which is like a third
    assert (like.loss.reward_weight, like.loss.reward_positive_weight) == (20.0, 10.0)
    assert default.reward.training == "sparse"
    assert cells["belief_cleared", 2].settings.evaluation.eval.clear_belief
    assert cells["belief_cleared", 2].settings.training == cells["default", 2].settings.training
    no_reward = cells["no_reward", 1].settings.training
    assert (no_reward.model.observe_reward, no_reward.task.episode_form) == (False, "fixed_length")
    trials = {cell.label: len(plans_of(cell)) for cell in cells.values() if not cell.row.every_port}
    assert set(trials.values()) == {200}
    assert [len(plans_of(cells["no_reward_every_port", seed])) for seed in (0, 1)] == [300, 300]
    assert all(cell.settings.training.train.seed == seed for (_, seed), cell in cells.items())


def test_rows_come_by_group_so_that_a_budget_leaves_out_the_last_ablations() -> None:
    groups = [row.group for row in open_study("insertion").rows.values()]
    assert groups == sorted(groups, key=["main", "sweep", "ablation"].index)


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
        ("{b: {like: aa}, a: {}}", "row 'b' is like 'aa', which has to stand above it"),
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


def test_a_row_that_is_like_another_has_its_own_settings_last(tmp_path: Path) -> None:
    rows = "{a: {set: [loss.reward_weight=3.0, loss.kl_weight=2.0]}, b: {like: a, set: [loss.reward_weight=5.0]}}"
    study = read_study(written(tmp_path, f"rows: {rows}"))
    loss = settings_of(study, "b", 0, config_file).training.loss
    assert (loss.reward_weight, loss.kl_weight) == (5.0, 2.0)


def test_settings_of_the_evaluation_leave_the_training_alone(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, "rows: {a: {seeds: [0], evaluate: [sim.image_noise=8.0], trials: 2.0}}"))
    settings = settings_of(study, "a", 0, config_file)
    assert (settings.training.sim.image_noise, settings.evaluation.sim.image_noise) == (0.0, 8.0)
    assert settings.evaluation.train == settings.training.train


# ---- what it costs


def test_time_is_summed_over_sessions() -> None:
    """Two sessions of training (the first of two marks), one of evaluation between them."""

    def mark(session: int, phase: str, steps: int, seconds: int) -> dict[str, object]:
        return {"session": session, "phase": phase, "steps": steps, "wall": 2.0 * seconds, "cpu": 1.0 * seconds}

    marks = [mark(0, "t", 10, 3), mark(0, "t", 20, 5), mark(1, "e", 0, 100), mark(2, "t", 30, 4)]
    assert (cpu_total(marks, "t"), wall_total(marks, "t"), cpu_total(marks)) == (9.0, 18.0, 109.0)
    assert list(time_line(marks, "t")) == [(10, 6.0, 3.0), (20, 10.0, 5.0), (30, 18.0, 9.0)]


def test_a_budget_counts_the_cells_of_the_table_alone(tmp_path: Path) -> None:
    """7,200 s of CPU time of a cell are 2 hours; an earlier run of it does not count."""
    for name, seconds in [("row-s0", 7200.0), ("replaced/row-s0.0", 3600.0)]:
        (tmp_path / name).mkdir(parents=True)
        row = {"session": 0, "phase": "training", "steps": 1, "wall": 1.0, "cpu": seconds}
        (tmp_path / name / "effort.jsonl").write_text(json.dumps(row) + "\n")
    assert spent(tmp_path) == pytest.approx(2.0)
    assert spent(tmp_path / "nowhere") == 0.0


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
