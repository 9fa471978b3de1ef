"""Learner: what runs on the training machine. Optimizers, updates, belief cache, and the full state for resuming."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from meld_core.accelerator import accelerator_watched, find_device, random_state, with_fast_products
from meld_core.ahead import made_ahead
from meld_core.batch import LearnerTrial, TrialBatch, make_batch
from meld_core.belief_cache import BeliefCache
from meld_core.config import Config, check_trainable, to_mapping
from meld_core.descent import Descent
from meld_core.hindsight import corrected, relabel
from meld_core.known_trials import KnownTrials
from meld_core.latent_contract import ACTIONS
from meld_core.latent_model import make_latent_model
from meld_core.metrics import RunningMean
from meld_core.recorded_update import RecordedUpdate
from meld_core.sac import BeliefBatch, actor_loss, critic_loss, critic_target, polyak, temperature_loss
from meld_core.sac_nets import make_actor, make_critics
from meld_core.schedule import Schedule
from meld_core.storage import checkpoint
from meld_core.tasks import draw_later_live
from meld_core.threads import one_thread
from meld_core.types import Trial, TrialId
from meld_core.weights import Weights

Progress = Callable[[int, int], None]
"""Called with the updates of a round that are over, and with their total."""


class TrialStore(Protocol):
    """Where trials come from (`replay.Replay`)."""

    @property
    def trials(self) -> Sequence[Trial]:
        """All trials, by index."""


class Networks(nn.Module):
    """Everything that is trained, the target critics, and the averaged actor that acts."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        sac = config.sac
        self.model = make_latent_model(config)
        belief = self.model.filter.belief_size
        self.actor = make_actor(belief, sac)
        self.critics = make_critics(belief, sac)
        self.actor.bf16 = self.critics.bf16 = config.learner.bf16
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.average_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.tensor(float(np.log(sac.initial_temperature))))


class Learner:
    """Trains on the trials of a replay, in rounds that the schedule sets.

    Its result is a function of the config and of the trials up to the index that it was asked to train after (with
    `train.fixed_data`: of all trials): later trials that have already arrived do not matter, nor does the state of
    torch's global random generator. `device` replaces `learner.device` where that one has failed.
    """

    def __init__(self, config: Config, replay: TrialStore, run: str = "run", device: str = "") -> None:
        check_trainable(config)
        self._config, self._replay, self._run = config, replay, run
        self._schedule = Schedule(config)
        self._device = find_device(device or config.learner.device)
        if config.learner.threads:
            torch.set_num_threads(config.learner.threads)
        self._rng = np.random.default_rng(config.train.seed)
        with torch.random.fork_rng():
            torch.manual_seed(config.train.seed)
            self.networks = Networks(with_fast_products(config, self._device)).to(self._device)
            self._torch_rng, self._device_rng = torch.get_rng_state(), random_state(self._device)
        self._descent = self._make_descent()
        self._recorded = RecordedUpdate(self._improve, self._device)
        self._cloning = torch.zeros((), device=self._device)
        self._known = KnownTrials(config)
        self._taken: set[TrialId] = set()
        self.trained_through, self.version = -1, -1
        self.model_updates, self.ac_updates, self.steps = 0, 0, 0
        self.first_update_step = -1
        """Steps in the replay at the first update; -1 before it."""
        self.updates_of_round = 0
        """Optimizer steps that the newest round was to do."""

    def _make_descent(self) -> Descent:
        nets = self.networks
        parts: dict[str, list[Tensor]] = {
            "model": list(nets.model.parameters()),
            "actor": list(nets.actor.parameters()),
            "critics": list(nets.critics.parameters()),
            "temperature": [nets.log_temperature],
        }
        return Descent(parts, self._config.learner, self._device)

    @property
    def skipped(self) -> int:
        """Optimizer steps of the newest round that were left out, because a gradient was not finite."""
        return self._descent.skipped

    @accelerator_watched()
    def train_after(self, index: int, on_progress: Progress | None = None) -> dict[str, float]:
        """Do the updates that are due after trial `index`.

        Returns:
            Means of the losses and counters of `metrics.py`'s learner row; empty where no updates were due.
        """
        self._take_trials(index)
        self.trained_through = index
        due = self._schedule.updates_after(index)
        if due is None or not self._known:
            return {}
        if self.first_update_step < 0:
            self.first_update_step = self.steps
        self._descent.begin(self._schedule.progress(index))
        self.updates_of_round = 0
        means, total = RunningMean(), due.model_updates + due.ac_updates
        with self._own_randomness():
            for i, batch in enumerate(made_ahead(self._draw_batch, due.model_updates, self._device)):
                means.add(self.update_model(batch))
                _report(on_progress, i + 1, total)
            cache = self._fill_cache()
            with one_thread():
                for i in range(due.ac_updates):
                    means.add(self.update_actor_critic(cache, self._schedule.progress(index)))
                    _report(on_progress, due.model_updates + i + 1, total)
        self.version += 1
        return {"skipped_updates": self.skipped} | means.take() | self._counters()

    def _counters(self) -> dict[str, float]:
        ratio = 100.0 * self.model_updates / max(1, self.steps)
        counts = {"model_updates": self.model_updates, "ac_updates": self.ac_updates, "replay_ratio": ratio}
        return counts | {"weights_version": self.version, "temperature": self.networks.log_temperature.exp().item()}

    def _take_trials(self, index: int) -> None:
        """Take in trials up to `index` that were not seen before.

        In lockstep the repetition of an aborted trial holds its very steps again: learning from both would count them
        twice, and would make the result depend on when somebody pulled a plug.
        """
        repeats = self._config.robot.mode == "lockstep"
        for trial in self._replay.trials:
            if repeats and trial.meta.aborted:
                continue
            due = trial.meta.id.counter <= index or self._config.train.fixed_data
            if due and trial.meta.id not in self._taken:
                self._known.add(trial)
                self.steps += len(trial) - int(trial.rows["first_in_episode"].sum())
                self._taken.add(trial.meta.id)

    @contextlib.contextmanager
    def _own_randomness(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.set_rng_state(self._torch_rng)
            if self._device_rng is not None:
                torch.cuda.set_rng_state(self._device_rng, self._device)
            yield
            self._torch_rng, self._device_rng = torch.get_rng_state(), random_state(self._device)

    def _draw(self, count: int) -> list[LearnerTrial]:
        """Trials with replacement: a share of demonstrations, some relabelled to a port drawn at random."""
        return [self._maybe_relabelled(trial) for trial in self._known.draw(count, self._rng)]

    def _maybe_relabelled(self, trial: LearnerTrial) -> LearnerTrial:
        if self._rng.random() < self._config.learner.relabel:
            task = self._config.task
            port = int(self._rng.integers(trial.in_port.shape[1]))
            live = [port, *draw_later_live(port, task, self._rng)][: len(trial.episodes())]
            trial = relabel(trial, live, task.horizon, task.episode_form == "end_on_success")
        return corrected(trial) if self._config.learner.corrections else trial

    def _draw_batch(self) -> TrialBatch:
        return make_batch(self._draw(self._config.learner.batch_trials), self._device)

    def update_model(self, batch: TrialBatch | None = None) -> dict[str, Tensor]:
        """One step on the latent model's negative ELBO, on a batch that is drawn here where none is given."""
        loss, metrics = self.networks.model.loss(batch or self._draw_batch(), self._config.loss)
        self._descent.step("model", loss, self.networks.model)
        self.updates_of_round += 1
        self.model_updates += 1
        return metrics

    def _fill_cache(self) -> BeliefCache:
        sac, trials = self._config.sac, self._draw(self._config.learner.cache_trials)
        share = self._config.learner.demonstration_share
        return BeliefCache(self.networks.model.filter, trials, sac, share, self._device)

    def update_actor_critic(self, cache: BeliefCache, progress: float) -> dict[str, Tensor]:
        """One step on critics, actor and temperature, on cached beliefs."""
        nets, sac = self.networks, self._config.sac
        faded = min(1.0, progress / max(1e-9, sac.cloning_until))
        self._cloning.fill_(sac.cloning_weight * (1.0 + (sac.cloning_to - 1.0) * faded))
        metrics = self._recorded(cache.sample(self._config.learner.batch_transitions))
        self.updates_of_round += 3
        self.ac_updates += 1
        average = min(sac.actor_average, (1.0 + self.ac_updates) / (10.0 + self.ac_updates))
        polyak(nets.average_actor, nets.actor, 1.0 - average if sac.actor_average else 1.0)
        return metrics

    def _improve(self, batch: BeliefBatch) -> dict[str, Tensor]:
        """Critics, actor, temperature and target critics: all that is recorded. Only tensors change between calls."""
        nets, sac = self.networks, self._config.sac
        temperature = nets.log_temperature.exp().detach()
        target = critic_target(nets.target_critics, nets.actor, temperature, batch, sac.entropy_backup)
        loss, critic_metrics = critic_loss(nets.critics, target, batch)
        self._descent.step("critics", loss, nets.critics)
        nets.critics.requires_grad_(False)
        loss, log_pi, actor_metrics = actor_loss(
            nets.actor, nets.critics, temperature, batch, value=sac.value_weight, cloning=self._cloning
        )
        self._descent.step("actor", loss, nets.actor)
        nets.critics.requires_grad_(True)
        self._descent.step(
            "temperature", temperature_loss(nets.log_temperature, log_pi, sac.target_entropy_per_action * ACTIONS)
        )
        polyak(nets.target_critics, nets.critics, sac.target_rate)
        return critic_metrics | actor_metrics

    def weights(self) -> Weights:
        """What the agent needs: belief filter and averaged actor."""
        parts = {"filter": self.networks.model.filter, "actor": self.networks.average_actor}
        tensors = {f"{part}.{name}": t for part, module in parts.items() for name, t in module.state_dict().items()}
        return Weights(tensors, max(0, self.version), self.trained_through, self._run, to_mapping(self._config))

    def save(self, path: Path) -> None:
        """Write the full state atomically: networks, optimizers, random states, counters. No pickle."""
        tensors = {f"networks.{k}": v for k, v in self.networks.state_dict().items()}
        tensors |= {f"optimizers.{name}": tensor for name, tensor in self._descent.state().items()}
        tensors["torch_rng"] = self._torch_rng
        if self._device_rng is not None:
            tensors["device_rng"] = self._device_rng
        counters = {name: getattr(self, name) for name in _COUNTERS}
        checkpoint.write(path, tensors, {"counters": counters, "rng": self._rng.bit_generator.state})

    def finite(self) -> bool:
        """Whether every number of every network is."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.networks.state_dict().values())

    def restore(self, path: Path) -> None:
        """Take networks and optimizers of an earlier `save`; counters and random states go on from here.

        Raises:
            CheckpointError: where the file is damaged or from another architecture.
        """
        tensors, _ = checkpoint.read(path)
        with checkpoint.fits(path):
            self._restore_networks(tensors)

    def _restore_networks(self, tensors: Mapping[str, Tensor]) -> None:
        self.networks.load_state_dict(checkpoint.under(tensors, "networks."))
        self._descent.restore(checkpoint.under(tensors, "optimizers."))
        self._recorded.forget()

    def load(self, path: Path) -> None:
        """Go on from `save`; trials come from the replay.

        Raises:
            CheckpointError: where the file is damaged or from another architecture.
        """
        tensors, meta = checkpoint.read(path)
        with checkpoint.fits(path):
            self._restore_networks(tensors)
            self._torch_rng = tensors["torch_rng"]
            if self._device_rng is not None:
                self._device_rng = tensors.get("device_rng", self._device_rng)
            self._rng.bit_generator.state = meta["rng"]
            counters = {name: int(meta["counters"][name]) for name in _COUNTERS}
        self._known, self._taken = KnownTrials(self._config), set()
        self._take_trials(counters["trained_through"])
        for name, value in counters.items():
            setattr(self, name, value)


_COUNTERS = ("trained_through", "version", "model_updates", "ac_updates", "steps", "first_update_step")


def _report(on_progress: Progress | None, current: int, total: int) -> None:
    if on_progress is not None and (current % 25 == 0 or current == total):
        on_progress(current, total)
