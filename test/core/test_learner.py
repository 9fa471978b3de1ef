"""Learner: what it trains on, its schedule, resuming bit for bit; the agent that acts with its weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from meld_core.agent import Agent
from meld_core.batch import learner_trial, to_inputs
from meld_core.config import Config, ConfigError
from meld_core.driver import Driver
from meld_core.learner import Learner
from meld_core.schedule import Schedule
from meld_core.storage.checkpoint import CheckpointError
from meld_core.storage.memory_sink import MemorySink
from meld_core.trial import RowFlags
from meld_core.trust.canary import _flags, _observation
from meld_core.types import Observation, Reward, RobotState, Source, Trial
from meld_core.weights import WeightsError

from .learning import tiny_config


@dataclasses.dataclass
class Store:
    trials: list[Trial]


def observation(number: int, reward: float = 0.0, size: tuple[int, int] = (32, 16)) -> Observation:
    """Identifiable data: everything derives from `number`."""
    rng = np.random.default_rng(number)
    state = RobotState(
        joints=rng.normal(size=6), velocities=np.zeros(6), tool_position=np.array([0.30, 0.01 * (number % 7), 0.05]),
        tool_orientation=np.array([0.0, 0.0, 0.0, 1.0]), stamp=number,
    )  # fmt: skip
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return Observation(image, state, Reward(reward, reward > 0, reward), number)


def run_trial(driver: Driver, config: Config, index: int, success_at: int) -> Trial:
    """Tick through a trial of made-up observations; every episode succeeds at its step `success_at`."""
    driver.begin_trial(Schedule(config).plan(index))
    stamp = 1000 * (index + 1)
    while not driver.trial_over:
        action, step = driver.tick(observation(stamp), None), 0
        while action is not None:
            stamp, step = stamp + 1, step + 1
            action = driver.tick(observation(stamp, float(step == success_at)), np.float32(0.5) * action)
        stamp += 1
    assert driver.last_trial is not None
    return driver.last_trial


def test_an_agent_of_another_number_of_ports_may_act_but_not_train() -> None:
    config = tiny_config("task.ports=4", "model.ports=3")
    assert Agent(config).believed_ports() is None  # it has seen nothing yet
    with pytest.raises(ConfigError, match=r"model\.ports is 3, task\.ports 4: such an agent may act, not train"):
        Learner(config, Store([]))


def test_a_real_arm_is_not_trained_on_what_only_the_simulator_knows() -> None:
    with pytest.raises(ConfigError, match=r"robot\.kind is widowx: set reward\.training=sparse"):
        Learner(tiny_config("robot.kind=widowx", "reward.training=shaped"), Store([]))


def some_trials(config: Config, count: int = 4) -> list[Trial]:
    driver = Driver(config, Agent(config), MemorySink(), run="r", boot="0" * 32)
    return [run_trial(driver, config, i, success_at=2 + i % 3) for i in range(count)]


def test_driver_records_what_was_executed() -> None:
    """Executed actions are half of what was asked for; an episode that ends at step 3 has 4 rows, the last action 0."""
    config = tiny_config("train.demonstrations=0", "train.random_trials=9")
    driver = Driver(config, Agent(config), MemorySink(), run="r", boot="0" * 32)
    trial = run_trial(driver, config, 0, success_at=3)
    rows = trial.rows
    assert rows["episode"].tolist() == [0] * 4 + [1] * 4
    assert rows["step"].tolist() == [0, 1, 2, 3] * 2
    assert rows["reward"].tolist() == [0, 0, 0, 1] * 2
    assert np.array_equal(rows["action"][:3], rows["intended_action"][:3] * np.float32(0.5))
    assert not rows["action"][[3, 7]].any()
    assert rows["terminal"].tolist() == [False] * 7 + [True]
    assert not rows["truncated"].any()
    assert rows["stamp"].tolist() == [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007]
    assert (rows["source"] == Source.RANDOM).all()
    assert trial.meta.id.counter == 0
    assert trial.meta.weights_version == -1


def test_the_reward_at_an_episodes_first_row_is_zero() -> None:
    """Whatever a detector says: no action led there, and no success ends an episode before it began."""
    config = tiny_config("train.demonstrations=0", "train.random_trials=1")
    driver = Driver(config, Agent(config), MemorySink(), run="r", boot="0" * 32)
    driver.begin_trial(Schedule(config).plan(0))
    assert driver.tick(observation(1, reward=1.0), None) is not None


def test_driver_refuses_a_missing_executed_action() -> None:
    config = tiny_config("train.demonstrations=0", "train.random_trials=1")
    driver = Driver(config, Agent(config), MemorySink(), run="r", boot="0" * 32)
    with pytest.raises(RuntimeError, match="no trial is under way"):
        driver.tick(observation(1), None)
    driver.begin_trial(Schedule(config).plan(0))
    driver.tick(observation(1), None)
    with pytest.raises(RuntimeError, match="executed action is None at step 1"):
        driver.tick(observation(2), None)


def test_an_aborted_trial_keeps_its_closed_episodes() -> None:
    """Two ticks, one step, into episode 2: the step is dropped and counted, episode 1 stays."""
    config = tiny_config("train.demonstrations=0", "train.random_trials=1")
    driver = Driver(config, Agent(config), MemorySink(), run="r", boot="0" * 32)
    driver.begin_trial(Schedule(config).plan(0))
    action, stamp = driver.tick(observation(1), None), 1
    while action is not None:
        stamp += 1
        action = driver.tick(observation(stamp, float(stamp == 3)), action)
    action = driver.tick(observation(10), None)
    driver.tick(observation(11), action)
    assert driver.abort("the arm was stopped") == 1
    assert driver.trial_over
    assert driver.last_trial is not None
    assert len(driver.last_trial) == 3
    assert driver.last_trial.meta.aborted == "the arm was stopped"
    assert not driver.last_trial.rows["terminal"].any()


def test_acting_equals_training_on_the_recorded_trial() -> None:
    """MELD_SPEC check 16, end to end: beliefs while acting equal those of the batch unroll of what was recorded."""
    config = tiny_config("train.demonstrations=0")
    beliefs: list[torch.Tensor] = []

    class Recording(Agent):
        def observe(self, observation: Observation, flags: RowFlags, previous_action: np.ndarray) -> None:
            super().observe(observation, flags, previous_action)
            assert self._belief is not None
            beliefs.append(self._belief[0].clone())

    agent = Recording(config)
    driver = Driver(config, agent, MemorySink(), run="r", boot="0" * 32)
    trial = run_trial(driver, config, 3, success_at=3)
    assert (trial.rows["source"] == Source.POLICY).all()
    unrolled = agent._nets.filter.unroll(to_inputs([learner_trial(trial, config)], torch.device("cpu")))
    torch.testing.assert_close(torch.stack(beliefs), unrolled[0], rtol=1e-4, atol=1e-5)


def test_same_seed_same_actions_and_greedy_differs() -> None:
    config = tiny_config()
    agent = Agent(config)
    flags = RowFlags(0, 0, True, True, False, False, False, False)
    taken = []
    for seed, greedy in [(1, False), (1, False), (2, False), (1, True)]:
        agent.begin_trial(seed)
        agent.observe(observation(1), flags, np.zeros(3, np.float32))
        taken.append(agent.act(greedy).tolist())
    assert taken[0] == taken[1]
    assert taken[0] != taken[2]
    assert taken[0] != taken[3]
    assert all(-1 <= a <= 1 for action in taken for a in action)


def test_an_agent_that_forgets_takes_the_next_episode_for_a_trials_first() -> None:
    """Told of episode 1 after it forgot, it believes what it believed in episode 0; without forgetting it does not."""
    config = tiny_config()
    agent, nothing = Agent(config), np.zeros(3, np.float32)
    first = _flags(0)
    later = dataclasses.replace(first, episode=1, first_in_trial=False)

    def believed(flags: RowFlags) -> torch.Tensor:
        agent.observe(_observation(config, 0), flags, nothing)
        assert agent._belief is not None
        return agent._belief.clone()

    agent.begin_trial(0)
    begun, carried = believed(first), believed(later)
    agent.forget()
    assert torch.equal(believed(later), begun)
    assert not torch.equal(carried, begun)


def test_agent_needs_an_observation_first() -> None:
    with pytest.raises(RuntimeError, match="observe before acting"):
        Agent(tiny_config()).act(greedy=True)


def test_agent_refuses_weights_of_another_architecture() -> None:
    weights = Learner(tiny_config(), Store([])).weights()
    with pytest.raises(WeightsError, match=r"model\.memory=8, this config has 16"):
        Agent(tiny_config("model.memory=16")).load(weights)


def test_updates_follow_the_schedule() -> None:
    """Two initial trials, then rounds of two: 2 + 3 updates after trial 1, 1 + 2 after trial 3, none after 0 and 2."""
    config = tiny_config()
    learner = Learner(config, Store(some_trials(config)))
    counted = []
    for index in range(4):
        learner.train_after(index)
        counted.append((learner.model_updates, learner.ac_updates, learner.version))
    assert counted == [(0, 0, -1), (2, 3, 0), (2, 3, 0), (3, 5, 1)]
    assert learner.first_update_step == 10  # two trials of two episodes, of 2 and of 3 steps each
    assert learner.trained_through == 3


def test_actor_and_critics_are_updated_on_one_thread_and_the_others_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, seen = tiny_config(), set[int]()
    learner = Learner(config, Store(some_trials(config)))
    update = learner.update_actor_critic

    def watched(*arguments: Any) -> Any:
        seen.add(torch.get_num_threads())
        return update(*arguments)

    monkeypatch.setattr(learner, "update_actor_critic", watched)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        learner.train_after(1)
        assert (seen, torch.get_num_threads()) == ({1}, 3)
    finally:
        torch.set_num_threads(before)


def test_trials_that_arrived_early_change_nothing() -> None:
    config = tiny_config()
    trials = some_trials(config)
    ahead, just_in_time = Learner(config, Store(trials)), Learner(config, store := Store(trials[:2]))
    for index in range(2):
        ahead.train_after(index)
        just_in_time.train_after(index)
    store.trials.extend(trials[2:])
    for index in (2, 3):
        ahead.train_after(index)
        torch.randn(7)  # nor does anybody else's use of the global generator
        just_in_time.train_after(index)
    assert ahead.weights().digest == just_in_time.weights().digest


def test_resuming_is_bit_identical_to_not_stopping(tmp_path: Path) -> None:
    config = tiny_config()
    store = Store(some_trials(config))
    whole, first = Learner(config, store), Learner(config, store)
    for index in range(2):
        whole.train_after(index)
        first.train_after(index)
    first.save(tmp_path / "learner.safetensors")
    second = Learner(config, store)
    second.load(tmp_path / "learner.safetensors")
    for index in (2, 3):
        whole.train_after(index)
        second.train_after(index)
    assert second.weights().digest == whole.weights().digest
    assert (second.steps, second.model_updates, second.version) == (whole.steps, whole.model_updates, whole.version)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    Learner(tiny_config(), Store([])).save(tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match="does not fit this config"):
        Learner(tiny_config("sac.hidden=8"), Store([])).load(tmp_path / "c.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Learner(tiny_config(), Store([])).load(tmp_path / "c.safetensors")


def test_learning_rates_decay_linearly() -> None:
    """From 50 % to 95 % of the run down to 5 %: half way through it is 1 - 0.5 · 0.95."""
    learner = Learner(tiny_config(), Store([]))
    for progress, factor in [(0.2, 1.0), (0.725, 0.525), (1.0, 0.05)]:
        learner._descent.begin(progress)
        rates = learner._descent.rates
        assert rates["model"] == pytest.approx(1e-3 * factor)
        assert rates["actor"] == pytest.approx(5e-4 * factor)


def test_model_loss_falls_on_a_fixed_set_of_trials() -> None:
    """MELD_SPEC check 21 in small: what can be learned of made-up images falls; their noise cannot be."""
    config = tiny_config("learner.relabel=0")
    learner = Learner(config, Store(some_trials(config)))
    learner._take_trials(3)
    losses = [learner.update_model()["model/tool"].item() for _ in range(150)]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
