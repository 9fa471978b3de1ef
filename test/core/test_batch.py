"""What the learner sees of a trial: views, relabelling, queries, n-step transitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meld_core.batch import make_batch, normalised_tool, pad, previous_actions, to_inputs
from meld_core.belief_cache import Transitions
from meld_core.hindsight import corrected, relabel
from meld_core.views import view_pixels

from .learning import hand_made, tiny_config

CPU = torch.device("cpu")


def test_view_pixels_averages_blocks_of_the_chosen_view() -> None:
    """Two stacked 16x16 views; the lower one holds blocks (0, 1, 2, 4): mean 1.75, rounded to 2."""
    config = tiny_config("model.views=[wrist]", "model.shrink=2")
    image = np.zeros((32, 16, 3), np.uint8)
    image[16:] = np.tile(np.array([[0, 1], [2, 4]], np.uint8), (8, 8))[..., None]
    assert np.array_equal(view_pixels(image, config), np.full((8, 8, 3), 2, np.uint8))


def test_view_pixels_of_many_pictures_are_those_of_each() -> None:
    """Means are rounded, a half upwards: blocks (0, 1, 0, 1) give 1. No block reaches into the next view or picture."""
    config = tiny_config("sim.views=[external, wrist]", "model.views=[wrist, external]", "model.shrink=2")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 16, 3), np.uint8)
    images[0, 16:] = np.tile(np.array([0, 1], np.uint8)[:, None], (16, 8, 3)).reshape(16, 16, 3)
    small = view_pixels(images, config)
    sums = images.astype(int).reshape(3, 16, 2, 8, 2, 3).sum((2, 4))
    expected = (np.concatenate([sums[:, 8:], sums[:, :8]], axis=1) + 2) // 4
    assert np.array_equal(small, expected)
    assert np.all(small[0, :8] == 1)
    assert all(np.array_equal(view_pixels(image, config), one) for image, one in zip(images, small, strict=True))


def test_view_pixels_refuses_another_size() -> None:
    with pytest.raises(ValueError, match=r"policy image is \(64, 64, 3\), expected \(32, 16, 3\) .*sim\.image_size"):
        view_pixels(np.zeros((64, 64, 3), np.uint8), tiny_config())


def test_normalised_tool_is_unit_at_the_workspace_corners() -> None:
    """Default box centre (0.30, 0, 0.06), size (0.12, 0.20, 0.05), reaching 15 mm below: corner (0.36, -0.1, 0.095)."""
    config = tiny_config("task.box_center=[0.3, 0.0, 0.06]")
    assert normalised_tool(np.array([0.36, -0.1, 0.095]), config).tolist() == pytest.approx([1.0, -1.0, 1.0])


def test_previous_actions_are_zero_after_a_reset() -> None:
    """Actions of row t are t / 1000 in x; row 3 begins episode 2, whose predecessor's action is masked to zero."""
    trial = hand_made([[0, 0, 1], [0, 0]])
    assert previous_actions(trial)[:, 0].tolist() == pytest.approx([0.0, 0.0, 0.001, 0.0, 0.003])


def test_padding_is_zero_and_unobserved() -> None:
    inputs = to_inputs([hand_made([[0, 0, 0]]), hand_made([[0, 1]])], CPU)
    assert inputs.observed.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert inputs.image[1, 2].sum() == 0
    assert pad([np.ones(1), np.ones(2)], 3).tolist() == [[1, 0, 0], [1, 1, 0]]


def test_relabelling_cuts_each_episode_at_its_first_hypothetical_success() -> None:
    """Live port 0 at the end of both episodes; port 2 was tried at rows 2 and 6: rows 3 and 7 go."""
    ports = [[-1, -1, 2, 0], [-1, -1, 2, 0]]
    trial = hand_made([[0, 0, 0, 1], [0, 0, 0, 1]], in_port=ports)
    cut = relabel(trial, 2, horizon=5, end_on_success=True)
    assert cut.reward.tolist() == [0, 0, 1, 0, 0, 1]
    assert cut.tool.tolist() == trial.tool[[0, 1, 2, 4, 5, 6]].tolist()
    assert cut.ends


def test_relabelling_stops_where_nothing_is_known_of_what_would_have_followed() -> None:
    """Port 2 was never tried: episode 1 ended early by the recorded success; the trial is cut there, bootstrapped."""
    trial = hand_made([[0, 0, 1], [0, 0, 1]], in_port=[[-1, -1, 0], [-1, -1, 0]])
    cut = relabel(trial, 2, horizon=5, end_on_success=True)
    assert cut.reward.tolist() == [0, 0, 0]
    assert not cut.ends


def test_relabelling_keeps_an_episode_that_ran_its_full_length() -> None:
    """Horizon 3: episode 1 timed out (4 rows), so episode 2 follows whatever is live; it succeeds in port 1."""
    trial = hand_made([[0, 0, 0, 0], [0, 1]], in_port=[[-1, -1, -1, -1], [-1, 0]])
    relabelled = relabel(trial, 0, horizon=3, end_on_success=True)
    assert relabelled.reward.tolist() == [0, 0, 0, 0, 0, 1]
    assert relabelled.ends


def test_a_trial_that_was_aborted_between_episodes_is_bootstrapped_after_relabelling() -> None:
    """Its only closed episode visits port 2, but another episode was to follow."""
    trial = hand_made([[0, 0, 1]], in_port=[[-1, 2, 0]], ends=False)
    assert not relabel(trial, 2, horizon=5, end_on_success=True).ends


def test_corrections_know_the_live_port_no_sooner_than_the_agent() -> None:
    """Made-up labels: 0.5 while searching, p / 10 on the way to port p. Port 2 is rewarded at the end of episode 1.

    Until then episode 1 is labelled by the search; from then on everything by the way to port 2, the rest of an episode
    of fixed length too: who is paid stays.
    """
    trial = hand_made([[0, 0, 1, 1], [0, 0]], in_port=[[-1, 1, 2, 2], [-1, -1]])
    labelled = corrected(trial)
    assert labelled.intended[:, 0].tolist() == pytest.approx([0.5, 0.5, 0.2, 0.2, 0.2, 0.2])
    assert labelled.cloned.all()
    relabelled = corrected(relabel(trial, 1, horizon=2, end_on_success=True))
    assert relabelled.intended[:, 0].tolist() == pytest.approx([0.5, 0.1, 0.1, 0.1])
    unfound = corrected(relabel(trial, 0, horizon=2, end_on_success=True))
    assert unfound.intended[:, 0].tolist() == pytest.approx([0.5] * 6)


def test_relabelling_shapes_for_the_hypothetical_port() -> None:
    """Shaped for port p is p / 10 - 1 in a hand-made trial, 0 at an episode's first row; one port per episode."""
    trial = hand_made([[0, 0, 0], [0, 0]], in_port=[[-1, -1, -1], [-1, -1]])
    relabelled = relabel(trial, [2, 1], horizon=2, end_on_success=False)
    assert relabelled.shaped.tolist() == pytest.approx([0.0, -0.8, -0.8, 0.0, -0.9])


def test_fixed_length_relabelling_rewards_every_seated_step() -> None:
    trial = hand_made([[0, 0, 0, 0]], in_port=[[2, 2, -1, 2]])
    relabelled = relabel(trial, 2, horizon=3, end_on_success=False)
    assert relabelled.reward.tolist() == [0, 1, 0, 1]  # never at an episode's first row
    assert len(relabelled) == 4


def test_transitions_cross_episode_boundaries() -> None:
    """Episodes of rows 0-2 and 3-5; decisions 0, 1, 3, 4 with rewards r_{t+1} = 0, 1, 0, 2.

    One step, γ = 0.5: decision 1 (row 1) earned 1 and is bootstrapped from row 3, the first of episode 2.
    """
    one = Transitions(hand_made([[0, 0, 1], [0, 0, 2]]), discount=0.5, n_step=1)
    assert one.row.tolist() == [0, 1, 3, 4]
    assert one.reward.tolist() == [0, 1, 0, 2]
    assert one.next_row.tolist() == [1, 3, 4, 5]
    assert one.discount.tolist() == [0.5, 0.5, 0.5, 0.0]


def test_three_step_returns() -> None:
    """Same trial, n = 3: R = (0 + .5·1 + .25·0, 1 + 0 + .25·2, 0 + .5·2, 2); the last three reach the end."""
    three = Transitions(hand_made([[0, 0, 1], [0, 0, 2]]), discount=0.5, n_step=3)
    assert three.reward.tolist() == [0.5, 1.5, 1.0, 2.0]
    assert three.next_row.tolist() == [4, 5, 5, 5]
    assert three.discount.tolist() == [0.125, 0.0, 0.0, 0.0]


def test_a_cut_trial_is_bootstrapped_from_its_last_row() -> None:
    """Two decisions before the cut, n = 3: bootstrap from row 2 after 2 steps and after 1."""
    cut = Transitions(hand_made([[0, 0, 0]], ends=False), discount=0.5, n_step=3)
    assert cut.next_row.tolist() == [2, 2]
    assert cut.discount.tolist() == [0.25, 0.5]


def test_a_missing_reward_masks_every_return_that_would_count_it() -> None:
    trial = hand_made([[0, 0, 0, 0]])
    trial.reward_valid[2] = False
    assert Transitions(trial, 0.5, n_step=1).known.tolist() == [True, False, True]
    assert Transitions(trial, 0.5, n_step=2).known.tolist() == [False, False, True]


def test_once_a_port_has_paid_every_port_is_known() -> None:
    """Port 1 fails in row 1, port 0 pays in row 3. What a row has not been told yet weighs 0.2."""
    queries = make_batch([hand_made([[0, 0, 0, 1]], in_port=[[-1, 1, -1, 0]])], CPU).queries
    assert queries.reward.tolist() == [[[1, 0, 0]] * 4]
    assert queries.weight[0].numpy() == pytest.approx(np.array([[0.2, 0.2, 0.2], *[[0.2, 1, 0.2]] * 2, [1, 1, 1]]))


def test_before_only_ports_that_were_tried_are_known() -> None:
    """Port 1 was tried; port 2 too, but nobody judged that row."""
    trial = hand_made([[0, 0, 0]], in_port=[[-1, 1, 2]])
    trial.reward_valid[2] = False
    queries = make_batch([trial], CPU).queries
    assert queries.reward.tolist() == [[[0, 0, 0]] * 3]
    assert queries.weight[0].numpy() == pytest.approx(np.array([[0, 0.2, 0], [0, 1, 0], [0, 1, 0]]))


def test_in_hindsight_every_port_is_known_visited_or_not() -> None:
    """Relabelled to port 2, which was never tried; after ports 1 and 0 only it is left; padding is not asked."""
    trial = relabel(hand_made([[0, 0, 0]], in_port=[[-1, 1, 0]]), 2, horizon=2, end_on_success=True)
    queries = make_batch([trial, hand_made([[0, 0, 0, 0]])], CPU).queries
    assert queries.reward[0].tolist() == [*[[0, 0, 1]] * 3, [0, 0, 0]]
    expected = [[0.2, 0.2, 0.2], [0.2, 1, 0.2], [1, 1, 1], [0, 0, 0]]
    assert queries.weight.numpy() == pytest.approx(np.array([expected, [[0, 0, 0]] * 4]))
