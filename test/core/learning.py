"""Small configs and hand-made trials for the tests of the learning code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from meld_core.agent import Agent
from meld_core.batch import Inputs, LearnerTrial
from meld_core.config import Config, load_config
from meld_core.trust.canary import _flags, _observation

TINY = [
    "sim.image_size=16", "sim.detector_size=64", "model.shrink=1", "model.channels=4",
    "model.keypoints=3", "model.keypoint_channels=2",
    "model.features=8",
    "model.proprio_features=4", "model.reward_repeats=2", "model.memory=8", "model.max_memory=6", "model.latent=3",
    "model.hidden=8", "sac.hidden=16", "learner.batch_trials=4", "learner.batch_transitions=16",
    "learner.cache_trials=6", "learner.pretrain_model_updates=2", "learner.pretrain_ac_updates=3",
    "learner.model_updates=1", "learner.ac_updates=2", "learner.update_every=2", "train.demonstrations=2",
    "train.trials=6", "task.horizon=5",
]  # fmt: skip


def one_thread() -> Iterator[None]:
    """Tiny networks only wait for other threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_config(*overrides: str) -> Config:
    """A config whose networks fit in a test."""
    return load_config(overrides=[*TINY, *overrides])


def hand_made(
    rewards: list[list[float]], *, ends: bool = True, in_port: list[list[int]] | None = None, seed: int = 0
) -> LearnerTrial:
    """A trial with one list of rewards per episode (one number per row, the first 0).

    Actions are identifiable: the action of row t is (t, 10 t, 100 t) / 1000; it is zero at each episode's last row.
    `in_port` gives per row the port in which the plug is seated, or -1. Shaped for port p it would be p / 10 - 1.
    """
    rng = np.random.default_rng(seed)
    lengths = [len(r) for r in rewards]
    rows = sum(lengths)
    first = np.concatenate([[True] + [False] * (n - 1) for n in lengths])
    last = np.append(first[1:], True)
    action = np.arange(rows, dtype=np.float32)[:, None] * np.array([1, 10, 100], np.float32) / 1000
    action[last] = 0.0
    seated = np.zeros((rows, 3), bool)
    for row, port in enumerate(np.concatenate(in_port) if in_port else []):
        if port >= 0:
            seated[row, int(port)] = True
    step = np.concatenate([np.arange(n) for n in lengths])
    episode = np.concatenate([np.full(n, e) for e, n in enumerate(lengths)])
    return LearnerTrial(
        image=rng.integers(0, 256, (rows, 32, 16, 3), dtype=np.uint8),
        tool=rng.normal(size=(rows, 3)).astype(np.float32),
        reward=np.concatenate(rewards).astype(np.float32),
        shaped=np.zeros(rows, np.float32),
        reward_valid=np.ones(rows, bool),
        valid=np.ones(rows, bool),
        action=action,
        intended=action.copy(),
        cloned=np.zeros(rows, bool),
        first_in_episode=first,
        time=np.stack([step / 5, episode / 2], axis=-1).astype(np.float32),
        in_port=seated,
        would_shape=np.broadcast_to(np.arange(3, dtype=np.float32) / 10 - 1, (rows, 3)) * ~first[:, None],
        ports=np.zeros((rows, 3, 3), np.float32),
        search=np.full((rows, 3), 0.5, np.float32),
        direct=np.broadcast_to(np.arange(3, dtype=np.float32)[None, :, None] / 10, (rows, 3, 3)).copy(),
        live=np.full(rows, -1),
        ends=ends,
        episodes_end=ends,
        demonstration=False,
    )


def changed(inputs: Inputs, name: str, row: int) -> Inputs:
    """The same inputs with one field of one row changed."""
    value = getattr(inputs, name).clone()
    value[:, row] = 255 - value[:, row] if name == "image" else value[:, row] + 1.0
    return dataclasses.replace(inputs, **{name: value})


def differs(a: Tensor, b: Tensor) -> list[bool]:
    """Rows of the first trial in which two (B, L, ...) are not the same."""
    return (a != b).any(-1)[0].tolist()


def actions_of(agent: Agent, config: Config) -> list[np.ndarray]:
    """Actions of six rows over two episodes, drawn, then greedy; every picture, reward and flag differs."""
    actions = []
    for greedy in (False, True):
        agent.begin_trial(5, greedy)
        previous = np.zeros(3, np.float32)
        for row in range(6):
            agent.observe(_observation(config, row), _flags(row), previous)
            previous = agent.act(greedy)
            actions.append(previous)
    return actions
