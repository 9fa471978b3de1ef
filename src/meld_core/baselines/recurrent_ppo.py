"""RecurrentPPO of sb3-contrib on whole trials: features, training, and the trained policy behind our driver."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from meld_core.config import Config
from meld_core.evaluate import OnProgress
from meld_core.latent_model import make_encoder
from meld_core.sim.trial_environment import InsertionTrialEnvironment, TrialObserver
from meld_core.tasks import Task
from meld_core.trial import RowFlags
from meld_core.types import Observation
from meld_core.views import model_image_size, view_pixels

_PICTURE = "image"
WINDOW = 100
"""Trials in a point of the learning curve, at most."""


class ModelPictures(gymnasium.ObservationWrapper[Any, np.ndarray, Any]):
    """Pictures as our model sees them: `model.views`, shrunk by `model.shrink`."""

    def __init__(self, env: InsertionTrialEnvironment, config: Config) -> None:
        super().__init__(env)
        self._config = config
        assert isinstance(env.observation_space, gymnasium.spaces.Dict)
        picture = gymnasium.spaces.Box(0, 255, (*model_image_size(config), 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({**env.observation_space.spaces, _PICTURE: picture})

    def observation(self, observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same observation with a smaller picture."""
        return small_picture(observation, self._config)


def small_picture(observation: Mapping[str, np.ndarray], config: Config) -> dict[str, np.ndarray]:
    """An observation of the trial environment with the picture that our model sees."""
    return {**observation, _PICTURE: view_pixels(observation[_PICTURE], config)}


class Features(BaseFeaturesExtractor):
    """Our model's own encoder on the picture, beside a layer on everything else."""

    def __init__(self, space: gymnasium.spaces.Dict, config: Config) -> None:
        model = config.model
        super().__init__(space, model.features + model.proprio_features)
        self._others = sorted(set(space.spaces) - {_PICTURE})
        width = sum(int(np.prod(space[name].shape or ())) for name in self._others)
        self.encoder = make_encoder(config)
        self.layer = nn.Sequential(nn.Linear(width, model.proprio_features), nn.SiLU())

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """(N, C, H, W) pictures from 0 to 255 and (N, n) numbers → (N, features)."""
        pictures = observations[_PICTURE].permute(0, 2, 3, 1)
        numbers = torch.cat([observations[name] for name in self._others], dim=-1)
        return torch.cat([self.encoder(pictures), self.layer(numbers)], dim=-1)


def train(config: Config, steps: int, seed: int, curve: LearningCurve) -> Rl2Policy:
    """Train on the train tasks: see `rl2.train_rl2`."""
    environment = ModelPictures(InsertionTrialEnvironment(config), config)
    model = make_model(config, environment, seed)
    try:
        model.learn(steps, callback=curve)
    finally:
        environment.close()
    return Rl2Policy(config, model, {"env_steps": model.num_timesteps, "seed": seed, **curve.facts()})


def make_model(config: Config, environment: ModelPictures, seed: int) -> RecurrentPPO:
    """An untrained one."""
    settings = config.rl2
    policy = {
        "features_extractor_class": Features,
        "features_extractor_kwargs": {"config": config},
        "normalize_images": False,  # the encoder does that
        "lstm_hidden_size": settings.memory,
        "net_arch": [settings.hidden],
        "log_std_init": settings.initial_log_std,
    }
    return RecurrentPPO(
        "MultiInputLstmPolicy",
        environment,
        learning_rate=settings.learning_rate,
        n_steps=settings.rollout,
        batch_size=settings.batch,
        n_epochs=settings.epochs,
        gamma=config.sac.discount,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip,
        ent_coef=settings.entropy,
        policy_kwargs=policy,
        seed=seed,
        device="cpu",
    )


class LearningCurve(BaseCallback):
    """Watches training: how trials go (by the simulator's truth), how many steps were made, how fast.

    Args:
        episodes: Per trial.
        steps: Control steps that are planned.
        on_progress: Told after every rollout.
        watch: Asked after every rollout whether to end the training here.
    """

    def __init__(
        self,
        episodes: int,
        steps: int,
        on_progress: OnProgress | None = None,
        watch: Callable[[int], bool] | None = None,
    ) -> None:
        super().__init__()
        self._planned, self._on_progress, self._watch = steps, on_progress, watch
        self._ended = False
        self._episodes = episodes
        self._recent: deque[list[tuple[bool, bool]]] = deque(maxlen=WINDOW)
        self._trials = 0
        self._points: list[dict[str, Any]] = []
        self._started = time.monotonic()
        self._begin_trial()

    def _begin_trial(self) -> None:
        self._success = [False] * self._episodes
        self._first_port: list[int | None] = [None] * self._episodes
        self._live = [0] * self._episodes

    def _on_step(self) -> bool:
        info, over = self.locals["infos"][0], bool(self.locals["dones"][0])
        truth, episode = info["truth"], info["episode_index"]
        self._success[episode] |= bool(truth["success"] > 0.5)
        self._live[episode] = truth["live"]
        if self._first_port[episode] is None and truth["port"] >= 0:
            self._first_port[episode] = int(truth["port"])
        if over:
            hits = [port == live for port, live in zip(self._first_port, self._live, strict=True)]
            self._recent.append(list(zip(self._success, hits, strict=True)))
            self._trials += 1
            self._begin_trial()
        return not self._ended

    def _on_rollout_end(self) -> None:
        self._points.append(self._point())
        if self._on_progress is not None:
            self._on_progress("training", min(self.num_timesteps, self._planned), self._planned)
        self._ended = self._watch is not None and self._watch(self.num_timesteps)

    def _point(self) -> dict[str, Any]:
        def rates(measure: int) -> list[float | None]:
            n = len(self._recent)
            return [sum(t[k][measure] for t in self._recent) / n if n else None for k in range(self._episodes)]

        return {
            "steps": self.num_timesteps,
            "seconds": time.monotonic() - self._started,
            "trials": self._trials,
            "success": rates(0),
            "first_attempt": rates(1),
        }

    def facts(self) -> dict[str, Any]:
        """Plain JSON types; a point of `curve` averages the last WINDOW trials, with sampled actions."""
        seconds = time.monotonic() - self._started
        return {
            "trials": self._trials,
            "seconds": seconds,
            "steps_per_second": self.num_timesteps / seconds,
            "curve": self._points,
        }


class Rl2Policy:
    """A trained policy as `raw_trials.Rival`: its memory sees the same as in the trial environment."""

    weights_version = -1
    weights_digest = ""

    def __init__(self, config: Config, model: RecurrentPPO, training: dict[str, Any]) -> None:
        self._config, self._policy = config, model.policy
        self._observer = TrialObserver(config)
        self._noise = np.random.default_rng(0)
        self.training = training
        """How it was trained: `env_steps`, `seed`, and `LearningCurve.facts`."""
        self.forget()

    def set_task(self, task: Task) -> None:
        """It is told nothing."""

    def begin_trial(self, seed: int, greedy: bool = False) -> None:
        """A fresh memory and a fresh stream of exploration noise."""
        self.forget()
        self._noise = np.random.default_rng(seed)

    def forget(self) -> None:
        """Back to the memory before any observation."""
        self._observer.begin_trial()
        self._memory: tuple[np.ndarray, ...] | None = None

    def observe(self, observation: Observation, flags: RowFlags, previous_action: np.ndarray) -> None:
        """Take in a row. The memory is updated when the policy acts on it."""
        seen = self._observer.see(observation, flags, previous_action)
        self._seen = small_picture(seen, self._config)

    def act(self, greedy: bool) -> np.ndarray:
        """(3,) float32 in [-1, 1]: the mean action, or a sample."""
        with torch.random.fork_rng():
            torch.manual_seed(int(self._noise.integers(2**31)))
            action, self._memory = self._policy.predict(self._seen, self._memory, deterministic=greedy)
        return np.asarray(action, np.float32)
