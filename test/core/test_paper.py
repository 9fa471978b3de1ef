"""The published recipe, config/paper.yaml: what it trains on, what reaches whom, and that it runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from meld_core.agent import Agent
from meld_core.batch import learner_trial, make_batch, to_inputs
from meld_core.belief_cache import BeliefCache, Transitions
from meld_core.config import Config, LossConfig, load_config
from meld_core.driver import Driver
from meld_core.learner import Learner, Networks
from meld_core.nets import Critics
from meld_core.rollout import MemorySink, collect
from meld_core.sac import BeliefBatch, actor_loss, critic_loss, critic_target, temperature_loss
from meld_core.schedule import held_out_plans
from meld_core.storage.run_folder import RunFolder
from meld_core.train import train_in_process
from meld_core.types import Observation, Trial
from meld_core.weights import WeightsError, latest_weights

from .learning import hand_made, one_thread
from .test_learner import Store, observation, run_trial
from .trial_builder import with_rows

PAPER = Path(__file__).resolve().parents[2] / "config" / "paper.yaml"
CPU = torch.device("cpu")
TINY = [
    "sim.image_size=16", "task.horizon=5", "slac.base_depth=2", "slac.latent1=3", "slac.latent2=5",
    "slac.reward_repeats=2", "sac.hidden=8", "learner.batch_trials=2", "learner.batch_transitions=16",
    "learner.cache_trials=3", "learner.pretrain_model_updates=2", "learner.model_updates=1", "learner.ac_updates=2",
    "learner.threads=1", "train.random_trials=2", "train.trials=4",
]  # fmt: skip

on_one_thread = pytest.fixture(autouse=True)(one_thread)


def paper(*overrides: str) -> Config:
    return load_config([PAPER], [*TINY, *overrides])


def a_trial(config: Config, index: int = 0) -> Trial:
    """A recorded trial with a reward at step 3 of each episode, and a shaped one of (row + 1) / 100 beside it."""
    trial = run_trial(Driver(config, Agent(config), MemorySink(), run="r", boot="0" * 32), config, index, success_at=9)
    paid = trial.rows["step"] == 3
    trial = with_rows(trial, reward=paid.astype(np.float32), reward_valid=np.ones(len(trial), bool))
    shaped = (np.arange(len(trial), dtype=np.float32) + 1) / 100
    return dataclasses.replace(trial, truth={"shaped": shaped})


def test_published_numbers() -> None:
    """Sizes and rates of the sparse two-episode recipe; ratios per step of an 80-step trial."""
    config = load_config([PAPER])
    slac, sac, learner = config.slac, config.sac, config.learner
    assert (slac.base_depth, slac.latent1, slac.latent2, slac.reward_repeats) == (64, 64, 32, 32)
    assert (slac.image_variance, slac.reward_std, slac.reward_weight) == (0.1, 0.2, 10.0)
    assert (config.loss.kl_weight, config.loss.kl_balance, config.loss.free_nats) == (1.0, 0.5, 0.0)
    assert config.loss.image_fraction == 1.0
    assert (sac.discount, sac.target_rate, sac.initial_temperature, sac.target_entropy_per_action) == (
        0.99,
        0.005,
        1,
        -1,
    )
    assert (learner.model_rate, learner.sac_rate, learner.decay_to, learner.grad_clip) == (1e-4, 3e-4, 1.0, 0.0)
    steps = config.task.episodes * config.task.horizon
    assert learner.batch_trials == 512 // (steps + config.task.episodes)
    assert (learner.model_updates / steps, learner.ac_updates / steps) == (0.8, 0.5)
    assert learner.pretrain_model_updates == 0.3 * config.train.random_trials * steps
    assert Networks(paper()).model.filter.belief_size == 2 * (3 + 5)


def test_temperature_starts_at_one_and_rests_at_the_published_entropy() -> None:
    """Check 9: log α = 0; with an entropy of -3, the target of three actions, its gradient is 0."""
    config = load_config([PAPER])
    log_temperature = Networks(paper()).log_temperature
    assert log_temperature.item() == 0.0
    for entropy, gradient in [(-3.0, 0.0), (0.0, 3.0)]:
        log_temperature.grad = None
        temperature_loss(
            log_temperature, torch.full((4,), -entropy), 3 * config.sac.target_entropy_per_action
        ).backward()
        assert log_temperature.grad is not None
        assert log_temperature.grad.item() == gradient


@pytest.mark.parametrize(("trials", "episodes", "steps", "valid"), [(20, 1, 40, 800), (15, 2, 30, 900)])
def test_transitions_stay_within_episodes(trials: int, episodes: int, steps: int, valid: int) -> None:
    """Check 12: K T transitions per trial, each to the next row; the last row is a successor, never left."""

    class RowFilter:
        belief_size, noise_size = 1, 0

        def unroll(self, inputs: object, noise: object) -> torch.Tensor:
            rows = torch.arange(episodes * (steps + 1), dtype=torch.float32)
            return rows[None, :, None].expand(len(inputs.tool), -1, -1)  # type: ignore[attr-defined]

    some = [hand_made([[0.0] * (steps + 1)] * episodes, ends=False) for _ in range(trials)]
    cache = BeliefCache(RowFilter(), some, paper().sac, 0.0, CPU)  # type: ignore[arg-type]
    assert len(cache) == valid
    batch = cache.sample(2000)
    assert torch.equal(batch.next_belief, batch.belief + 1)
    assert not (batch.belief % (steps + 1) == steps).any()
    assert (batch.next_belief % (steps + 1) == steps).any()
    assert torch.equal(batch.discount, torch.full((2000,), 0.99))


def test_published_reward_index_needs_a_row_more() -> None:
    """Check 20: one step whose reward tells the actions apart: the published index sees r_t = 0, never the last one."""
    trial = hand_made([[0.0, 0.25, 1.0]])
    assert Transitions(trial, 0.9, 1, "next").reward.tolist() == [0.25, 1.0]
    assert Transitions(trial, 0.9, 1, "own").reward.tolist() == [0.0, 0.25]
    learned = {}
    for index in ("next", "own"):
        torch.manual_seed(0)
        rewards = [Transitions(hand_made([[0.0, r]]), 0.9, 1, index).reward[0] for r in (1.0, 0.0)]
        critics, action = Critics(1, 3, 16, 2), torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
        zeros = torch.zeros(2, 1)
        batch = BeliefBatch(zeros, action, torch.tensor(rewards), torch.zeros(2), zeros, action, torch.zeros(2))
        optimizer = torch.optim.Adam(critics.parameters(), lr=0.02)
        for _ in range(150):
            optimizer.zero_grad()
            critic_loss(critics, batch.reward, batch)[0].backward()
            optimizer.step()
        learned[index] = critics(zeros, action).mean(0).tolist()
    assert learned["next"] == pytest.approx([1.0, 0.0], abs=0.05)
    assert learned["own"] == pytest.approx([0.0, 0.0], abs=0.05)


def test_shaped_reward_reaches_targets_and_no_belief() -> None:
    """Check 18, sparse recipe: the filter is given the sparse reward, reward decoder and critics the sum of both."""
    config = paper()
    trial = a_trial(config)
    plain = learner_trial(trial, config)
    moved = learner_trial(dataclasses.replace(trial, truth={"shaped": trial.truth["shaped"] + 0.5}), config)
    nets = Networks(config).eval()
    unrolled = [nets.model.filter.unroll(to_inputs([t], CPU)) for t in (plain, moved)]
    assert torch.equal(unrolled[0], unrolled[1])
    losses = []
    for t in (plain, moved):
        torch.manual_seed(0)
        losses.append(nets.model.loss(make_batch([t], CPU), config.loss)[1])
    assert losses[0]["model/kl"] == losses[1]["model/kl"]
    assert losses[0]["model/reward"] != losses[1]["model/reward"]
    assert plain.reward.tolist() == [0, 0, 0, 1, 0, 0] * 2
    assert plain.target[1:4].tolist() == pytest.approx([0.02, 0.03, 1.04])
    assert Transitions(plain, 0.99, 1).reward[:3].tolist() == pytest.approx([0.02, 0.03, 1.04])
    sparse = paper("reward.training=sparse")
    assert np.array_equal(learner_trial(trial, sparse).target, plain.reward)


def test_gradient_isolation() -> None:
    """Check 13: each loss reaches its own parameters only; target critics never have a gradient."""
    config = paper()
    nets = Networks(config)
    trial = learner_trial(a_trial(config), config)
    beliefs = nets.model.filter.unroll(to_inputs([trial], CPU))[0].detach()
    count = len(beliefs)
    batch = BeliefBatch(
        beliefs, torch.zeros(count, 3), torch.ones(count), torch.ones(count), beliefs, torch.zeros(count, 3),
        torch.zeros(count),
    )  # fmt: skip

    def touched() -> set[str]:
        names = {n.split(".")[0] for n, p in nets.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        nets.zero_grad(set_to_none=True)
        return names

    nets.model.loss(make_batch([trial], CPU), LossConfig())[0].backward()
    assert touched() == {"model"}
    target = critic_target(nets.target_critics, nets.actor, torch.tensor(0.1), batch, True)
    critic_loss(nets.critics, target, batch)[0].backward()
    assert touched() == {"critics"}
    nets.critics.requires_grad_(False)
    loss, log_pi, _ = actor_loss(nets.actor, nets.critics, torch.tensor(0.1), batch)
    loss.backward()
    assert touched() == {"actor"}
    temperature_loss(nets.log_temperature, log_pi, -2.0).backward()
    assert touched() == {"log_temperature"}


@pytest.mark.parametrize("greedy", [False, True])
def test_acting_equals_training_on_the_recorded_trial(greedy: bool) -> None:
    """Check 16, end to end: beliefs while acting are those of the batch unroll, with the noise of the agent's seed."""
    config = paper("train.random_trials=0")
    beliefs: list[torch.Tensor] = []
    noises: list[torch.Tensor] = []

    class Recording(Agent):
        def observe(self, observation: Observation, *rest: object) -> None:  # type: ignore[override]
            super().observe(observation, *rest)  # type: ignore[arg-type]
            assert self._belief is not None
            beliefs.append(self._belief[0].clone())

        def _draw_noise(self) -> torch.Tensor | None:
            if (noise := super()._draw_noise()) is not None:
                noises.append(noise[0])
            return noise

    agent = Recording(config)
    driver = Driver(config, agent, MemorySink(), run="r", boot="0" * 32)
    driver.begin_trial(dataclasses.replace(held_out_plans(config, 1, 3)[0], greedy=greedy))
    stamp = 1
    while not driver.trial_over:
        action = driver.tick(observation(stamp), None)
        while action is not None:
            stamp += 1
            action = driver.tick(observation(stamp), action)
        stamp += 1
    assert driver.last_trial is not None
    trial = dataclasses.replace(driver.last_trial, truth={"shaped": np.zeros(12, np.float32)})
    noise = None if greedy else torch.stack(noises)[None]
    unrolled = agent._nets.filter.unroll(to_inputs([learner_trial(trial, config)], CPU), noise)
    torch.testing.assert_close(torch.stack(beliefs), unrolled[0], rtol=1e-4, atol=1e-5)


def test_shaped_reward_is_a_price_where_success_ends_the_episode() -> None:
    """Lowered by 1, so that ending pays: rows 1 to 3 of (row + 1) / 100 - 1, the first row 0, and 1 for the success."""
    config = paper("task.episode_form=end_on_success")
    trial = learner_trial(a_trial(config), config)
    assert trial.target[:4].tolist() == pytest.approx([0.0, -0.98, -0.97, 0.04])
    assert trial.would_shape[0].tolist() == [0.0] * 3
    assert np.all((trial.would_shape[1] > -1.0) & (trial.would_shape[1] < 0.0))
    assert not learner_trial(a_trial(config), paper("reward.training=sparse")).would_shape.any()


def test_one_round_runs_and_its_weights_act(tmp_path: Path) -> None:
    """Two random trials, a round of updates, two trials of the policy; fixed length; the weights then evaluate."""
    config = paper()
    folder = RunFolder(tmp_path / "paper").create(config)
    assert train_in_process(config, folder)
    weights = latest_weights(folder.weights)
    assert weights is not None
    assert weights.trained_through_trial == 3
    assert {name.split(".")[1] for name in weights.tensors if name.startswith("filter.")} >= {"encoder", "prior"}
    trials = [list(collect(config, weights, held_out_plans(config, 1, 3))) for _ in range(2)]
    assert len(trials[0][0]) == 2 * (5 + 1)
    assert np.array_equal(trials[0][0].rows["action"], trials[1][0].rows["action"])
    with pytest.raises(WeightsError, match=r"slac\.latent1=3, this config has 4"):
        Agent(paper("slac.latent1=4")).load(weights)


def test_a_learner_without_clipping_steps_as_far_as_the_gradient_says() -> None:
    """grad_clip 0 clips nothing, where a small norm shrinks the gradient."""
    norms = {}
    for clip in (0.0, 1e-3):
        config = paper(f"learner.grad_clip={clip}")
        learner = Learner(config, Store([a_trial(config, i) for i in range(2)]))
        learner._take_trials(1)
        learner.update_model()
        parameters = learner.networks.model.parameters()
        norms[clip] = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).item()
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-2)
    assert norms[0.0] > 1.0
