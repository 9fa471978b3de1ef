"""Agent: what runs on the robot. Filters observations into a belief, acts on it, swaps weights between trials."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from meld_core.acting_nets import ActingNets, TracedNets
from meld_core.batch import TOOL, Inputs, normalised_tool
from meld_core.config import Config, known_ports
from meld_core.latent_contract import ACTIONS, State
from meld_core.onnx_nets import OnnxNets
from meld_core.trial import RowFlags
from meld_core.types import Observation
from meld_core.views import model_image_size, view_pixels
from meld_core.weights import Weights, WeightsError


@dataclasses.dataclass(frozen=True, eq=False)
class ReadyWeights:
    """Weights that were checked and copied into networks of their own: an agent takes them by one assignment."""

    version: int
    trained_through_trial: int
    run: str
    digest: str
    episodes: int
    """Episodes per trial that they were trained with."""
    nets: ActingNets


class Agent:
    """Acts on the belief. Weights change only between trials, because a belief lives in their latent space.

    Args:
        config: Of the run.
        compiled: For a process that acts for long: at the price of a second now, ticks take half the time and less.
            `policy.engine` says by what; a filter that draws noise acts as without.

    Raises:
        ConfigError: where that engine is not installed.
    """

    def __init__(self, config: Config, compiled: bool = False) -> None:
        self._config = config
        model_image_size(config)  # fails now on an impossible combination of views and sizes
        with torch.random.fork_rng():
            torch.manual_seed(config.train.seed)
            self._nets: ActingNets = ActingNets(config).eval()
            if compiled and not self._nets.filter.noise_size:
                self._nets = self._compiled()
        self.weights_version = -1
        self.weights_digest = ""
        self._episodes = config.task.episodes
        """Episodes per trial that the weights were trained with."""
        self._noise, self._greedy = torch.Generator(), False
        self._tool = np.zeros(3)
        self.forget()

    def _compiled(self) -> ActingNets:
        if self._config.policy.engine == "onnx":
            return OnnxNets(self._config, self._nets, self._blank())
        return TracedNets(self._config, self._nets, self._blank()) if TracedNets.possible else self._nets

    def _blank(self) -> Inputs:
        """Inputs (1, ...) of a black picture."""
        height, width = model_image_size(self._config)
        return Inputs(  # a recording tells its inputs apart by their tensors: each needs its own
            image=torch.zeros(1, height, width, 3, dtype=torch.uint8),
            tool=torch.zeros(1, ACTIONS),
            reward=torch.zeros(1),
            reward_valid=torch.zeros(1),
            previous_action=torch.zeros(1, ACTIONS),
            first_in_episode=torch.zeros(1),
            time=torch.zeros(1, 2),
            observed=torch.ones(1),
        )

    def prepare(self, weights: Weights) -> ReadyWeights:
        """Make weights ready, in any thread: what acts meanwhile is not touched.

        Raises:
            WeightsError: where they were built for another architecture.
        """
        weights.check_fits(self._config)
        self._check_names(weights)
        return ReadyWeights(
            version=weights.version,
            trained_through_trial=weights.trained_through_trial,
            run=weights.run,
            digest=weights.digest,
            episodes=int(weights.config["task"]["episodes"]),
            nets=self._nets.spare(weights.tensors),
        )

    def load(self, weights: Weights | ReadyWeights) -> None:
        """Swap weights; forgets the belief. Those that are ready cost an assignment, others are made ready first.

        The agent counts episodes as it was trained to: where trials are longer now, all further episodes look to it
        like the last one that it knows.

        Raises:
            WeightsError: where they were built for another architecture.
        """
        ready = self.prepare(weights) if isinstance(weights, Weights) else weights
        self._nets = self._nets.taken_over_by(ready.nets)
        self.weights_version, self.weights_digest = ready.version, ready.digest
        self._episodes = ready.episodes
        self.forget()

    def _check_names(self, weights: Weights) -> None:
        """Torch would load what fits before it complains about the rest."""
        ours = {name: tuple(tensor.shape) for name, tensor in self._nets.state_dict().items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
        if wrong := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
            name = wrong[0]
            raise WeightsError(
                f"weights version {weights.version} hold {theirs.get(name, 'nothing')} as '{name}', the agent needs "
                f"{ours.get(name, 'nothing')}: built by another version of this program?"
            )

    def begin_trial(self, seed: int, greedy: bool = False) -> None:
        """A fresh belief and a fresh stream of noise; a greedy agent's belief propagates means, not samples."""
        self.forget()
        self._noise.manual_seed(seed)
        self._greedy = greedy

    def forget(self) -> None:
        """Back to the belief before any observation; the next episode looks like a trial's first."""
        self._state: State = self._nets.filter.initial(1)
        self._belief: torch.Tensor | None = None
        self._first_episode: int | None = None

    @torch.inference_mode()
    def observe(self, observation: Observation, flags: RowFlags, previous_action: np.ndarray) -> None:
        """Update the belief with o_t, the reward that came with it and a_{t-1} (zeros at an episode's first row).

        Raises:
            ValueError: where the image has another size than the config says.
        """
        self._tool = observation.state.tool_position
        inputs = self._inputs(observation, flags, previous_action)
        self._state, self._belief = self._nets.update(self._state, inputs, self._draw_noise())

    def _draw_noise(self) -> torch.Tensor | None:
        """(1, noise_size) for a filter that samples its latent; None for any other, and when greedy."""
        size = self._nets.filter.noise_size
        return torch.randn(1, size, generator=self._noise) if size and not self._greedy else None

    def _inputs(self, observation: Observation, flags: RowFlags, previous_action: np.ndarray) -> Inputs:
        horizon, reward = self._config.task.horizon, observation.reward
        if self._first_episode is None:
            self._first_episode = flags.episode
        first, episode = flags.first_in_episode, min(flags.episode - self._first_episode, self._episodes - 1)
        position = normalised_tool(observation.state.tool_position, self._config)
        action = np.zeros_like(previous_action) if first else previous_action
        time = flags.step / horizon, episode / self._episodes
        rest = reward.reward if reward.valid else 0.0, reward.valid, first, 1.0
        row = torch.from_numpy(np.concatenate([position, action, time, rest], dtype=np.float32))
        parts = row.split((TOOL, ACTIONS, 2, 1, 1, 1, 1))  # of one tensor: to make eight takes longer
        return Inputs(
            image=torch.from_numpy(view_pixels(observation.image, self._config))[None],
            tool=parts[0][None],
            reward=parts[3],
            reward_valid=parts[4],
            previous_action=parts[1][None],
            first_in_episode=parts[5],
            time=parts[2][None],
            observed=parts[6],
        )

    def believed_ports(self) -> tuple[np.ndarray, np.ndarray] | None:
        """What the belief says of each port: where its mouth is, (P, 3) [m], and the reward expected, (P,) in [0, 1].

        None before the first observation of a trial, and for a model without a readout.
        """
        ports, model = known_ports(self._config), self._config.model
        if self._belief is None or model.kind != "recurrent" or not model.readout:
            return None
        readout = self._belief[0, -ports * (ACTIONS + 1) :].numpy().reshape(ports, ACTIONS + 1)
        return self._tool + readout[:, :ACTIONS] * self._config.robot.step_size, readout[:, ACTIONS].copy()

    @torch.inference_mode()
    def act(self, greedy: bool) -> np.ndarray:
        """(A,) float32 in [-1, 1]: the mean action, or a sample.

        Raises:
            RuntimeError: before the first observation of a trial.
        """
        if self._belief is None:
            raise RuntimeError("no belief yet: observe before acting")
        noise = torch.zeros(1, ACTIONS) if greedy else torch.randn(1, ACTIONS, generator=self._noise)
        return self._nets.act(self._belief, noise)[0].numpy()
