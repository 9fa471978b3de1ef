"""Latent state models: filters whose belief carries scene and hidden task, trained by their negative ELBO.

Notation of the default model (MELD's idea with a deterministic memory; the published two-level model differs):

    f_t = encoder(image_t)                      image features
    x_t = (f_t, tool_t, r_t, a_{t-1}, first_t)  what is new at t; the reward enters repeated
    h_t = GRU(x_t, h_{t-1})                     memory, kept across the episodes of a trial
    m_t = max(m_{t-1}, tanh MLP(x_t))           a set-like memory of what was seen, order-free
    q(z_t | h_t, m_t, f_t)                      posterior
    p(z_t | h_{t-1}, m_{t-1}, a_{t-1}, first_t) prior
    b_t = (mean z_t, std z_t [, h_t, m_t], time_t, tool_t [, f_t] [, readout])   belief: what actor and critics see

    -ELBO = E_q[-log p(image_t | z_t, h_t, m_t) - log p(tool_t | .) - log p(r_t | .)] + KL(q || p)
            + ports: where the taught ports of the task are (visible, but small)
            + query loss: from the belief at t tell of each port whether it pays in this task (in this episode, where
              the live port may move between episodes)

The readout is what the belief says in plain numbers: for each port its decoded position relative to the tool, in
units of an action, and the reward expected there, by the query head. Actor and critics read it off, not learn it.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meld_core.batch import TOOL, Inputs, Queries, TrialBatch
from meld_core.config import Config, ConfigError, LossConfig, did_you_mean, known_ports
from meld_core.latent_contract import ACTIONS, Metrics, State
from meld_core.nets import Gaussian, ImageDecoder, ImageEncoder, KeypointEncoder, gaussian_kl, half_precision, mlp
from meld_core.slac.model import SlacModel
from meld_core.views import model_image_size

FLAGS = 3
"""Reward is valid, first in episode, row was observed."""


@dataclasses.dataclass(frozen=True)
class Filtered:
    """Everything the filter computes along a batch of trials, each (B, L, ...)."""

    features: Tensor
    h: Tensor
    m: Tensor
    mean: Tensor
    std: Tensor


def _seen(value: Tensor, observed: bool) -> Tensor:
    """An input as the networks see it: zeros where the config says that it is not observed."""
    return value if observed else torch.zeros_like(value)


def make_encoder(config: Config) -> nn.Module:
    """Image encoder of a config, (N, H, W, 3) uint8 → (N, features)."""
    model, size = config.model, model_image_size(config)
    if model.encoder == "keypoints":
        return KeypointEncoder(size, len(model.views), model.keypoint_channels, model.keypoints, model.features)
    return ImageEncoder(*size, model.channels, model.features)


class RecurrentFilter(nn.Module):
    """q(z_t | o_{<=t}, a_{<t}) with memory h_t and m_t."""

    noise_size = 0

    def __init__(self, whole: Config) -> None:
        super().__init__()
        self.config = config = whole.model
        self.encoder = make_encoder(whole)
        self.tool = nn.Sequential(nn.Linear(TOOL, config.proprio_features), nn.SiLU())
        new = config.features + config.proprio_features + config.reward_repeats + FLAGS + ACTIONS
        self.memory = nn.GRU(new, config.memory, batch_first=True)
        self.seen = mlp(new, config.hidden, config.max_memory) if config.max_memory else None
        self.posterior = Gaussian(config.memory + config.max_memory + config.features, config.hidden, config.latent)
        state = config.latent + config.memory + config.max_memory
        self.ports = mlp(state, config.hidden, TOOL * known_ports(whole))
        self.query = mlp(state + TOOL, config.hidden, 1, layers=2)
        self._readout = Readout(whole)
        skip = config.features if config.skip else 0
        readout = (TOOL + 1) * known_ports(whole) if config.readout else 0
        memories = config.memory + config.max_memory if config.memory_skip else 0
        self.belief_size = 2 * config.latent + memories + 2 + TOOL + skip + readout

    def initial(self, batch: int) -> dict[str, Tensor]:
        """State before the first row of a trial: h = 0, and m = -1, the least value of a tanh."""
        reference = next(self.parameters())
        return {
            "h": reference.new_zeros(batch, self.config.memory),
            "m": reference.new_full((batch, self.config.max_memory), -1.0),
        }

    def update(self, state: State, inputs: Inputs, noise: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """One step, inputs (B, ...) → the next state and the belief (B, D); nothing is sampled."""
        sequence = Inputs(**{f.name: getattr(inputs, f.name)[:, None] for f in dataclasses.fields(inputs)})
        filtered = self.filter(sequence, state)
        belief = self.belief(filtered, sequence)
        return {"h": filtered.h[:, 0], "m": filtered.m[:, 0]}, belief[:, 0]

    def unroll(self, inputs: Inputs, noise: Tensor | None = None) -> Tensor:
        """Whole trials, inputs (B, L, ...) → beliefs (B, L, D); nothing is sampled."""
        return self.belief(self.filter(inputs, self.initial(len(inputs.image))), inputs)

    def filter(self, inputs: Inputs, state: State, bf16: bool = False) -> Filtered:
        """Posteriors and memories along (B, L); the only place where time runs.

        With `bf16` pictures are encoded with bf16 factors: for the loss only. Beliefs that are acted on, or that actor
        and critics learn from, are exact.
        """
        features = self._encode(inputs, bf16)
        new = self._new(features, inputs)
        h = self._remember(new, state["h"])
        m = state["m"][:, None].expand(-1, new.shape[1], -1)
        if self.seen is not None:
            seen = torch.tanh(self.seen(new))  # of one row, an agent's tick, there is nothing to accumulate
            m = torch.maximum(seen if seen.shape[1] == 1 else seen.cummax(dim=1).values, m)
        mean, std = self.posterior(torch.cat([h, m, features], dim=-1))
        return Filtered(features, h, m, mean, std)

    def _remember(self, new: Tensor, h: Tensor) -> Tensor:
        """h_t (B, L, H); for one row, an agent's tick, without what a sequence needs around it: the same numbers."""
        if new.shape[1] == 1:
            return torch.gru_cell(new[:, 0], h, *self.memory.all_weights[0])[:, None]
        memories: Tensor = self.memory(new, h[None].contiguous())[0]
        return memories

    def _encode(self, inputs: Inputs, bf16: bool) -> Tensor:
        """f_t (B, L, F); zero, and not computed, where nothing was observed."""
        observed = inputs.observed > 0.0
        if observed.numel() == 1 and observed.item():  # an agent's tick; choosing rows would take a tenth of its time
            features: Tensor = self.encoder(inputs.image.flatten(0, 1)).unflatten(0, inputs.observed.shape)
            return features
        features = inputs.tool.new_zeros(*observed.shape, self.config.features)
        with half_precision(features.device, bf16):
            features[observed] = self.encoder(inputs.image[observed])
        return features

    def _new(self, features: Tensor, inputs: Inputs) -> Tensor:
        """x_t: (B, L, features + ...)."""
        reward_valid = _seen(inputs.reward_valid, self.config.observe_reward)
        reward = (inputs.reward * reward_valid * self.config.reward_scale).unsqueeze(-1)
        rewards = reward.expand(*reward.shape[:-1], self.config.reward_repeats)
        first = _seen(inputs.first_in_episode, self.config.observe_first)
        flags = torch.stack([reward_valid, first, inputs.observed], dim=-1)
        tool = self.tool(_seen(inputs.tool, self.config.observe_tool)) * inputs.observed.unsqueeze(-1)
        return torch.cat([features, tool, rewards, flags, inputs.previous_action], dim=-1)

    def belief(self, filtered: Filtered, inputs: Inputs) -> Tensor:
        """b_t (B, L, D): the Gaussian's parameters, the memories, time, tool position; skip and readout."""
        parts = [filtered.mean, filtered.std]
        if self.config.memory_skip:
            parts += [filtered.h, filtered.m]
        parts += [inputs.time, _seen(inputs.tool, self.config.observe_tool)]
        if self.config.skip:
            parts.append(filtered.features)
        if self.config.readout:
            parts.append(self.readout(filtered, _seen(inputs.tool, self.config.observe_tool)))
        return torch.cat(parts, dim=-1)

    def readout(self, filtered: Filtered, tool: Tensor) -> Tensor:
        """Per port the position relative to the tool, in units of an action, and the expected reward: (B, L, 4 P)."""
        state = torch.cat([filtered.mean, filtered.h, filtered.m], dim=-1)
        ports = self.ports(state).unflatten(-1, (-1, TOOL))  # (B, L, P, 3)
        asked = state.unsqueeze(-2).expand(*ports.shape[:-1], -1)
        reward = torch.sigmoid(self.expected_reward(asked, ports)).unsqueeze(-1)
        relative = (ports - tool.unsqueeze(-2)) * self._readout.actions
        return torch.cat([relative, reward], dim=-1).flatten(-2)

    def expected_reward(self, state: Tensor, ports: Tensor) -> Tensor:
        """Logit (...) of the reward for being seated in the port whose mouth is at `ports` (..., 3)."""
        logit: Tensor = self.query(torch.cat([state, ports + self._readout.seat], dim=-1)).squeeze(-1)
        return logit


class Readout(nn.Module):
    """Constants of the readout, in normalised tool coordinates."""

    seat: Tensor
    """(3,) from a port's mouth to a seated tip."""
    actions: Tensor
    """(3,) actions per unit."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        half = torch.tensor(config.robot.workspace_size) / 2
        seat = torch.tensor([0.0, 0.0, -config.task.depth])
        self.register_buffer("seat", seat / half, persistent=False)
        self.register_buffer("actions", half / config.robot.step_size, persistent=False)


class RecurrentModel(nn.Module):
    """The default latent model: RecurrentFilter, its prior, decoders of image, tool, reward, ports and queries."""

    filter: RecurrentFilter

    def __init__(self, config: Config) -> None:
        super().__init__()
        model, self._bf16 = config.model, config.learner.bf16
        self.filter = RecurrentFilter(config)
        memory = model.memory + model.max_memory
        self.prior = Gaussian(memory + ACTIONS + 1, model.hidden, model.latent)
        state = model.latent + memory
        self.image = ImageDecoder(state, *model_image_size(config), 2 * model.hidden)
        self.tool = mlp(state, model.hidden, TOOL)
        self.reward = mlp(state, model.hidden, 1)

    def predict(self, state: State, action: Tensor, first_in_episode: Tensor) -> tuple[Tensor, Tensor]:
        """p(z_t | h_{t-1}, m_{t-1}, a_{t-1}, first_t): mean and std (..., Z)."""
        first = _seen(first_in_episode, self.filter.config.observe_first).unsqueeze(-1)
        mean, std = self.prior(torch.cat([state["h"], state["m"], action, first], dim=-1))
        return mean, std

    def loss(self, batch: TrialBatch, weights: LossConfig) -> tuple[Tensor, Metrics]:
        """Negative ELBO averaged over the observed rows of the batch.

        Returns:
            Scalar loss; metrics of each part: `model/kl` [nats], `model/image` (mean squared pixel error),
            `model/tool` and `model/ports` (mean squared error), `model/reward` and `model/query` [nats].
        """
        inputs, start = batch.inputs, self.filter.initial(len(batch.inputs.tool))
        filtered = self.filter.filter(inputs, start, self._bf16)
        z = filtered.mean + filtered.std * torch.randn_like(filtered.std)
        observed = inputs.observed > 0.0  # heads run on observed rows only: (B, L, ...) -> (N, ...)
        state = torch.cat([z, filtered.h, filtered.m], dim=-1)[observed]
        parts = {
            "model/kl": self._kl(filtered, inputs, start, weights)[observed].mean(),
            "model/image": self._image_loss(state, inputs.image[observed], weights.image_fraction),
            "model/tool": (self.tool(state) - inputs.tool[observed]).square().sum(-1).mean(),
            "model/ports": (self.filter.ports(state) - batch.ports[observed]).square().sum(-1).mean(),
            "model/reward": self._reward_loss(state, inputs, observed, weights.reward_positive_weight),
            "model/query": self._query_loss(
                state, batch.ports[observed].unflatten(-1, (-1, TOOL)), batch.queries, observed
            ),
        }
        height, width, colours = self.image.shape
        scale = {
            "model/kl": weights.kl_weight,
            "model/image": weights.image_weight * height * width * colours,
            "model/tool": weights.tool_weight,
            "model/ports": weights.port_weight,
            "model/reward": weights.reward_weight,
            "model/query": weights.query_weight,
        }
        loss = torch.stack([scale[name] * part for name, part in parts.items()]).sum()
        return loss, {"model/loss": loss.detach(), **{name: part.detach() for name, part in parts.items()}}

    def _kl(self, filtered: Filtered, inputs: Inputs, start: State, weights: LossConfig) -> Tensor:
        """KL(q || p) per row (B, L), its gradient balanced between posterior and prior, not below the free nats."""
        before = {k: torch.cat([start[k][:, None], getattr(filtered, k)[:, :-1]], dim=1) for k in ("h", "m")}
        mean_p, std_p = self.predict(before, inputs.previous_action, inputs.first_in_episode)
        mean_q, std_q = filtered.mean, filtered.std
        if weights.kl_balance == 0.5:
            kl = gaussian_kl(mean_q, std_q, mean_p, std_p)
        else:
            to_prior = gaussian_kl(mean_q.detach(), std_q.detach(), mean_p, std_p)
            to_posterior = gaussian_kl(mean_q, std_q, mean_p.detach(), std_p.detach())
            kl = weights.kl_balance * to_prior + (1.0 - weights.kl_balance) * to_posterior
        return kl.clamp(min=weights.free_nats) if weights.free_nats else kl

    def _image_loss(self, state: Tensor, image: Tensor, fraction: float) -> Tensor:
        """Mean squared pixel error on a random share of the observed frames: only decoded frames are subsampled."""
        count = max(1, round(len(state) * fraction))
        chosen = torch.randperm(len(state), device=state.device)[:count]
        with half_precision(state.device, self._bf16):
            decoded = self.image(state[chosen])
        return F.mse_loss(decoded, image[chosen].float() / 255.0)

    def _reward_loss(self, state: Tensor, inputs: Inputs, observed: Tensor, positive_weight: float) -> Tensor:
        """Binary log-loss of the sparse reward; rewarded rows are rare and weigh more."""
        target = inputs.reward[observed].clamp(0.0, 1.0)
        weight = inputs.reward_valid[observed] * (1.0 + (positive_weight - 1.0) * target)
        logits = self.reward(state).squeeze(-1)
        return _mean(F.binary_cross_entropy_with_logits(logits, target, reduction="none"), weight)

    def _query_loss(self, state: Tensor, ports: Tensor, queries: Queries, observed: Tensor) -> Tensor:
        """Binary log-loss of whether each port (N, P, 3) pays, asked from every belief."""
        asked = state.unsqueeze(1).expand(-1, ports.shape[1], -1)
        logits = self.filter.expected_reward(asked, ports)
        error = F.binary_cross_entropy_with_logits(logits, queries.reward[observed], reduction="none")
        return _mean(error, queries.weight[observed])


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean; 0 where every weight is 0."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-8)


LATENT_MODELS: dict[str, type[RecurrentModel | SlacModel]] = {"recurrent": RecurrentModel, "slac": SlacModel}


def make_latent_model(config: Config) -> RecurrentModel | SlacModel:
    """The latent model of a config, freshly initialised. Raises ConfigError on an unknown kind."""
    kind = config.model.kind
    if kind not in LATENT_MODELS:
        raise ConfigError(f"unknown latent model '{kind}'{did_you_mean(kind, LATENT_MODELS)} [setting: model.kind]")
    return LATENT_MODELS[kind](config)
