"""Probes of beliefs with known answers, and beliefs read off recorded trials by real networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from learning import tiny_config
from PIL import Image
from scored_trials import two_episodes

from meld_core.acting_nets import ActingNets
from meld_core.config import Config, to_mapping
from meld_core.evaluation.beliefs import BeliefReader, BeliefTrace, find_reconstructor
from meld_core.evaluation.probe_evaluation import run_probes
from meld_core.evaluation.probes import (
    ProbeError,
    expected_curves,
    ideal_observer,
    moment_rows,
    probe_answers,
    probe_table,
    probed_trial,
)
from meld_core.latent_model import make_latent_model
from meld_core.reporting.belief_plots import plot_strips
from meld_core.reporting.belief_strip import draw_strip, heat, strip_height
from meld_core.reporting.belief_study import BeliefStudy
from meld_core.reporting.video import film
from meld_core.storage import checkpoint
from meld_core.task_families import make_tasks
from meld_core.types import Trial
from meld_core.weights import Weights

CONFIG = tiny_config("eval.processes=1", "eval.greedy=true")


def told_trace(live: int, knows: float, seed: int = 0) -> BeliefTrace:
    """Two episodes of 5 and 3 rows: a wrong port is answered at row 2, the live one at row 4.

    From row 4 on the state holds the live port, one-hot, `knows` times as large as its noise, and so does what is
    expected.
    """
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(8, 6)).astype(np.float32)
    state[4:, live] += knows
    in_port = np.zeros((8, 3), bool)
    in_port[2, (live + 1) % 3] = in_port[4, live] = in_port[7, live] = True
    expected = np.full((8, 3), 0.25)
    expected[4:, live] = 0.75
    reward = np.array([0, 0, 0, 0, 1, 0, 0, 1], np.float32)
    return BeliefTrace(state, expected, in_port, reward, np.array([1, 0, 0, 0, 0, 1, 0, 0], bool), np.full(8, live))


def test_moments_of_a_trial_by_hand() -> None:
    rows = moment_rows(told_trace(live=1, knows=1.0))
    assert rows == {"start": 0, "before_answer": 1, "after_answer": 2, "end_1": 4, "start_2": 5, "end_2": 7}


def test_ideal_observer_excludes_ports_that_were_answered_with_nothing() -> None:
    trace = told_trace(live=1, knows=1.0)
    assert [round(ideal_observer(trace, row), 4) for row in (0, 1, 2, 3, 4, 5, 7)] == [
        0.3333, 0.3333, 0.5, 0.5, 1.0, 1.0, 1.0,
    ]  # fmt: skip


def test_ideal_observer_of_a_port_that_may_move_begins_anew_with_every_episode() -> None:
    trace = dataclasses.replace(told_trace(live=1, knows=1.0), may_move=True)
    assert [round(ideal_observer(trace, row), 4) for row in (2, 4, 5, 7)] == [0.5, 1.0, 0.3333, 1.0]


def test_what_is_expected_follows_the_port_that_moves() -> None:
    trace = told_trace(live=1, knows=1.0)
    moved = dataclasses.replace(trace, live=np.array([1, 1, 1, 1, 1, 2, 2, 2]))
    assert probed_trial(moved).moments["start_2"].live == 2
    assert probed_trial(moved).expected[1][0].tolist() == [0.25] * 3
    assert probed_trial(moved).expected[1][1].tolist() == [0.5] * 3


def test_probe_finds_what_the_belief_holds_and_nothing_else() -> None:
    """The state says nothing before row 4 and the live port after: chance, then (nearly) always right."""
    trials = [probed_trial(told_trace(seed % 3, knows=12.0, seed=seed)) for seed in range(90)]
    table = probe_table(trials, ports=3)
    for moment in ("start", "before_answer", "after_answer"):
        low, high = table[moment]["probe"]["wilson95"]
        assert low < 1 / 3 < high
    for moment in ("end_1", "start_2", "end_2"):
        assert table[moment]["probe"]["rate"] == 1.0
    assert table["after_answer"]["ideal"] == pytest.approx(0.5)
    assert table["start"]["own"]["successes"] == 30  # equal everywhere: the first port is named, live in 30 of 90
    assert table["start_2"]["own"]["rate"] == 1.0


def test_a_probe_is_never_scored_on_a_task_that_it_was_fitted_on() -> None:
    """Every task has a state of its own: memorising it names every port, generalising names none above chance."""
    live = np.random.default_rng(1).integers(3, size=100)
    hits = (probe_answers(np.eye(100), live, 3) == live).mean()
    assert hits < 0.5


def test_too_few_tasks_for_a_probe_is_one_sentence() -> None:
    with pytest.raises(ProbeError, match="at least 5 tasks, got 4"):
        probe_answers(np.eye(4), np.zeros(4, int), 3)
    weights = untrained(CONFIG)
    with pytest.raises(ProbeError, match="at least 5 tasks, got 3; ask for more trials"):
        run_probes(CONFIG, weights, 3)


def test_expected_reward_of_live_and_other_ports_by_hand() -> None:
    curves = expected_curves([probed_trial(told_trace(live, knows=1.0)) for live in (0, 2)])
    assert curves[0] == {"live": [0.25, 0.25, 0.25, 0.25, 0.75], "others": [0.25] * 5}
    assert curves[1] == {"live": [0.75] * 3, "others": [0.25] * 3}


def untrained(config: Config) -> Weights:
    """Freshly initialised weights."""
    torch.manual_seed(3)
    nets = ActingNets(config)
    return Weights(dict(nets.state_dict()), 0, -1, "fresh", to_mapping(config))


def recorded(config: Config = CONFIG, *, first: bool = True, seed: int = 0) -> Trial:
    """A trial of two episodes (4 and 3 rows) with pictures of the config's size and a tool in two ports."""
    task = make_tasks(config.task).sample("validation", seed)
    trial = two_episodes(first=first, second=True, live=task.live, counter=seed)
    rng, size = np.random.default_rng(seed), config.sim.image_size
    rows = dict(trial.rows)
    rows["image"] = rng.integers(0, 256, (len(trial), size * len(config.sim.views), size, 3), dtype=np.uint8)
    return Trial(dataclasses.replace(trial.meta, task=task.to_json()), rows, trial.truth)


def test_a_cleared_belief_begins_every_episode_anew() -> None:
    weights, trial = untrained(CONFIG), recorded()
    carried = BeliefReader(CONFIG, weights).trace(trial)
    cleared = BeliefReader(CONFIG, weights, clear_belief=True).trace(trial)
    assert carried.state.shape == (7, 2 * 3 + 8 + 6)
    assert carried.expected is not None
    assert carried.expected.shape == (7, 3)
    np.testing.assert_allclose(cleared.state[:4], carried.state[:4], atol=1e-6)
    assert np.abs(cleared.state[4] - carried.state[4]).max() > 1e-3


def test_three_ports_of_an_agent_are_not_taken_for_three_of_four() -> None:
    """Its beliefs can be probed, its own expectations cannot: nobody says which of its ports is which of the box's."""
    four = dataclasses.replace(
        CONFIG,
        task=dataclasses.replace(CONFIG.task, ports=4),
        model=dataclasses.replace(CONFIG.model, ports=3),
    )
    trace = BeliefReader(four, untrained(CONFIG)).trace(recorded(four))
    assert trace.expected is None
    assert trace.state.shape == (7, 2 * 3 + 8 + 6)
    assert trace.in_port.shape == (7, 4)


def test_a_hidden_reward_changes_beliefs_only_from_where_one_was_given() -> None:
    weights, trial = untrained(CONFIG), recorded()
    rewarded = int(np.flatnonzero(trial.rows["reward"] > 0.5)[0])
    reader = BeliefReader(CONFIG, weights)
    seen, hidden = reader.trace(trial), reader.trace(trial, hide_reward=True)
    np.testing.assert_array_equal(seen.state[:rewarded], hidden.state[:rewarded])
    assert np.abs(seen.state[rewarded] - hidden.state[rewarded]).max() > 1e-3
    assert hidden.reward.sum() == 0


def test_reconstructions_need_the_very_model_of_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = make_latent_model(CONFIG)
    nets = ActingNets(CONFIG)
    nets.filter.load_state_dict(model.filter.state_dict())
    weights = Weights(dict(nets.state_dict()), 0, -1, "fresh", to_mapping(CONFIG))
    assert find_reconstructor(CONFIG, tmp_path, weights) is None
    checkpoint.write(tmp_path / "1.safetensors", {f"networks.model.{k}": v for k, v in model.state_dict().items()}, {})
    assert find_reconstructor(CONFIG, tmp_path, untrained(CONFIG)) is None
    found = find_reconstructor(CONFIG, tmp_path, weights)
    assert found is not None
    seen, decoded = found.pictures(recorded())
    assert seen.shape == decoded.shape == (7, 32, 16, 3)
    np.testing.assert_array_equal(seen, recorded().rows["image"])


def test_study_writes_probes_and_pictures(tmp_path: Path) -> None:
    study = BeliefStudy(CONFIG, untrained(CONFIG))
    trials = [recorded(seed=seed) for seed in range(6)]
    for index, trial in enumerate(trials):
        study.carried(index, trial)
        study.cleared(index, trial)
    probes = study.probes()
    assert probes is not None
    drawn = study.draw(probes, tmp_path, trials[:2], tmp_path / "no checkpoints")
    assert set(drawn) == {"probes", "strips"}
    assert set(probes["readers"]) == {"carried", "hidden", "cleared"}
    assert probes["trials"] == probes["readers"]["carried"]["start"]["probe"]["trials"] == 6
    for path in drawn.values():
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 5


def test_study_of_too_few_trials_draws_strips_alone(tmp_path: Path) -> None:
    study = BeliefStudy(CONFIG, untrained(CONFIG))
    study.carried(0, recorded())
    assert study.probes() is None
    assert set(study.draw(None, tmp_path, [recorded()], tmp_path)) == {"strips"}


def test_strips_without_query_head_are_not_drawn(tmp_path: Path) -> None:
    silent = dataclasses.replace(told_trace(0, 1.0), expected=None)
    assert plot_strips([silent], tmp_path / "x.png") is None
    assert probed_trial(silent).expected == []


def test_heat_goes_from_dark_to_yellow() -> None:
    assert heat(np.array([0.0, 1.0, 7.0])).tolist() == [[24, 26, 32], [250, 214, 90], [250, 214, 90]]


def test_strip_draws_one_cell_per_step_and_leaves_a_gap_at_a_reset() -> None:
    """Width 158 leaves 92 px for 9 columns: 10 px each from 58; the third step follows a reset, one column later."""
    expected = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    strip = draw_strip(expected, np.array([True, False, True]), 9, 158)
    assert strip.shape == (strip_height(2), 158, 3) == (48, 158, 3)
    first, second = strip[16 + 5], strip[32 + 5]
    yellow, dark = [250, 214, 90], [24, 26, 32]
    assert first[60].tolist() == first[70].tolist() == yellow
    assert first[80].tolist() == [0, 0, 0]
    assert first[92].tolist() == dark
    assert second[92].tolist() == yellow


def test_film_carries_the_strip_below_its_captions() -> None:
    trial = recorded()
    plain = next(iter(film(trial, "x", CONFIG)))
    with_strip = next(iter(film(trial, "x", CONFIG, np.ones((7, 3)))))
    assert with_strip.shape == (plain.shape[0] + strip_height(3), plain.shape[1], 3)
    np.testing.assert_array_equal(with_strip[: len(plain)], plain)
