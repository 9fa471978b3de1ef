"""The published two-level latent model (SLAC: Lee et al. 2020; with the reward as an input, MELD: Zhao et al. 2020).

    f_t = (encoder(image_t), r_t repeated)
    q(z1_t | f_t, z2_{t-1}, a_{t-1})            posterior; at a trial's first row q(z1_0 | f_0)
    p(z1_t | z2_{t-1}, a_{t-1})                 prior; at the first row N(0, I)
    p(z2_t | z1_t, z2_{t-1}, a_{t-1})           prior and posterior, one network; at the first row p(z2_0 | z1_0)
    b_t = (mean z1_t, std z1_t, mean z2_t, std z2_t)   belief, along a sampled path: all that actor and critics see

    -ELBO = E_q[-log N(image_t; decoder(z_t), 0.1) - w log N(r_t; reward(z_t), 0.2²)] + KL(q(z1_t) || p(z1_t))

averaged over the rows. A reset within a trial is an ordinary transition. Tool position, time and flags are no inputs.
Where a row was not observed the prior takes the place of the posterior: the filter predicts.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meld_core.batch import Inputs, TrialBatch
from meld_core.config import Config, LossConfig, SlacConfig
from meld_core.latent_contract import ACTIONS, Metrics, State
from meld_core.nets import gaussian_kl
from meld_core.slac.nets import ConditionalGaussian, StackedDecoder, StackedEncoder, dense
from meld_core.views import model_image_size


@dataclasses.dataclass(frozen=True)
class Path:
    """A sampled path of the filter along a batch of trials, each (B, L, ...)."""

    z1: Tensor
    z2: Tensor
    mean1: Tensor
    std1: Tensor
    mean2: Tensor
    std2: Tensor

    @property
    def latent(self) -> Tensor:
        """z_t = (z1_t, z2_t): (B, L, Z)."""
        return torch.cat([self.z1, self.z2], dim=-1)

    @property
    def belief(self) -> Tensor:
        """b_t: (B, L, 2 Z)."""
        return torch.cat([self.mean1, self.std1, self.mean2, self.std2], dim=-1)


class SlacFilter(nn.Module):
    """The two-level filter: one particle, z2 carried from step to step."""

    def __init__(self, whole: Config, actions: int = ACTIONS) -> None:
        super().__init__()
        self.config, self._observe_reward = (slac := whole.slac), whole.model.observe_reward
        width, z1, z2 = 8 * slac.base_depth, slac.latent1, slac.latent2
        features = width + slac.reward_repeats
        self.encoder = StackedEncoder(model_image_size(whole), len(whole.model.views), slac.base_depth)
        self.first_posterior = ConditionalGaussian(features, 0, width, z1)
        self.first_transition = ConditionalGaussian(0, z1, width, z2)
        self.prior = ConditionalGaussian(actions, z2, width, z1)
        self.posterior = ConditionalGaussian(features + actions, z2, width, z1)
        self.transition = ConditionalGaussian(actions, z1 + z2, width, z2)
        self.noise_size = z1 + z2
        self.belief_size = 2 * (z1 + z2)

    def initial(self, batch: int) -> dict[str, Tensor]:
        """State before the first row of a trial: nothing carried, not begun."""
        reference = next(self.parameters())
        return {"z2": reference.new_zeros(batch, self.config.latent2), "begun": reference.new_zeros(batch, 1)}

    def update(self, state: State, inputs: Inputs, noise: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """One step, inputs (B, ...) → the next state and the belief (B, 2 Z)."""
        sequence = Inputs(**{f.name: getattr(inputs, f.name)[:, None] for f in dataclasses.fields(inputs)})
        path = self.filter(sequence, state, None if noise is None else noise[:, None])
        return {"z2": path.z2[:, 0], "begun": torch.ones_like(state["begun"])}, path.belief[:, 0]

    def unroll(self, inputs: Inputs, noise: Tensor | None = None) -> Tensor:
        """Whole trials, inputs (B, L, ...) → beliefs (B, L, 2 Z)."""
        return self.filter(inputs, self.initial(len(inputs.image)), noise).belief

    def filter(self, inputs: Inputs, state: State, noise: Tensor | None) -> Path:
        """Posteriors along (B, L) on a path of samples (of means without noise); the only place where time runs."""
        features, action = self._features(inputs), inputs.previous_action
        posterior, weight1 = self.posterior.begin(features, action)
        transition, weight2 = self.transition.begin(action)
        begun, z2 = state["begun"] > 0.0, state["z2"]
        any_missed = (inputs.observed <= 0.0).any(dim=0).tolist()
        steps = []
        for t in range(features.shape[1]):
            one = self.posterior.go_on(posterior[:, t], weight1, z2)
            if t == 0:
                one = _where(begun, one, self.first_posterior(features[:, 0]))
            if any_missed[t]:
                one = _where(inputs.observed[:, t, None] > 0.0, one, self._prior(begun, z2, action[:, t]))
            z1 = _draw(one, noise, t, slice(None, self.config.latent1))
            two = self.transition.go_on(transition[:, t], weight2, torch.cat([z1, z2], dim=-1))
            if t == 0:
                two = _where(begun, two, self.first_transition(z1))
                begun = torch.ones_like(begun)
            z2 = _draw(two, noise, t, slice(self.config.latent1, None))
            steps.append((z1, z2, *one, *two))
        return Path(*(torch.stack(parts, dim=1) for parts in zip(*steps, strict=True)))

    def _prior(self, begun: Tensor, z2: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """p(z1_t | z2_{t-1}, a_{t-1}), N(0, I) where the trial has not begun: mean and std (..., z1)."""
        mean, std = self.prior(action, z2)
        return _where(begun, (mean, std), (torch.zeros_like(mean), torch.ones_like(std)))

    def predict(self, state: State, action: Tensor) -> tuple[Tensor, Tensor]:
        """Prior over z1 of the next row: mean and std (B, z1)."""
        return self._prior(state["begun"] > 0.0, state["z2"], action)

    def _features(self, inputs: Inputs) -> Tensor:
        """f_t (B, L, F + R): image features and the repeated reward; zero where nothing was observed or is valid."""
        observed = inputs.observed > 0.0
        encoded = self.encoder(inputs.image[observed], self.precision())
        features = encoded.new_zeros(*observed.shape, encoded.shape[-1])
        features[observed] = encoded
        reward = inputs.reward * inputs.reward_valid * float(self._observe_reward)
        return torch.cat([features, reward.unsqueeze(-1).expand(*reward.shape, self.config.reward_repeats)], dim=-1)

    def precision(self) -> torch.dtype:
        """bf16 in encoder and decoder while training, where the settings allow it; acting is exact."""
        return torch.bfloat16 if self.config.bf16 and self.training else torch.float32


class SlacModel(nn.Module):
    """SlacFilter with its decoders of image and reward."""

    filter: SlacFilter

    def __init__(self, config: Config, actions: int = ACTIONS) -> None:
        super().__init__()
        self.config: SlacConfig = config.slac
        size, views, width = model_image_size(config), len(config.model.views), 8 * config.slac.base_depth
        self.filter = SlacFilter(config, actions)
        latent = self.config.latent1 + self.config.latent2
        self.image = StackedDecoder(latent, size, views, config.slac.base_depth)
        self.reward = dense(latent, width, 1)

    def predict(self, state: State, action: Tensor, first_in_episode: Tensor) -> tuple[Tensor, Tensor]:
        """p(z1_t | z2_{t-1}, a_{t-1}): mean and std (B, z1); a reset within a trial is an ordinary transition."""
        return self.filter.predict(state, action)

    def loss(self, batch: TrialBatch, weights: LossConfig) -> tuple[Tensor, Metrics]:
        """Negative ELBO averaged over the observed rows of the batch.

        Returns:
            Scalar loss; metrics of each part: `model/kl`, `model/image_log_likelihood` and
            `model/reward_log_likelihood` [nats per row], `model/image` (mean squared pixel error), `model/reward`
            (mean squared error).
        """
        inputs, observed = batch.inputs, batch.inputs.observed > 0.0
        start = self.filter.initial(len(inputs.tool))
        noise = torch.randn(*observed.shape, self.filter.noise_size, device=observed.device)
        path = self.filter.filter(inputs, start, noise)
        latent = path.latent[observed]  # decoders run on observed rows only: (B, L, ...) -> (N, ...)
        kl = _clipped(self._kl(path, inputs.previous_action, weights)[observed], weights.free_nats).mean()
        image_error, pixels = self._image_error(latent, inputs.image[observed], weights.image_fraction)
        image = normal_log_likelihood(image_error, self.config.image_variance, pixels)
        reward_error = self._reward_error(latent, batch.reward[observed], inputs.reward_valid[observed])
        reward = normal_log_likelihood(reward_error, self.config.reward_std**2, 1)
        loss = weights.kl_weight * kl - image - self.config.reward_weight * reward
        parts = {
            "model/loss": loss, "model/kl": kl, "model/image": image_error / pixels, "model/reward": reward_error,
            "model/image_log_likelihood": image, "model/reward_log_likelihood": reward,
        }  # fmt: skip
        return loss, {name: part.detach() for name, part in parts.items()}

    def _kl(self, path: Path, action: Tensor, weights: LossConfig) -> Tensor:
        """KL(q(z1_t) || p(z1_t)) per row (B, L); the prior follows from the posterior's samples of the row before."""
        mean, std = self.filter.prior(action[:, 1:], path.z2[:, :-1])
        first = path.mean1[:, :1]
        mean_p = torch.cat([torch.zeros_like(first), mean], dim=1)
        std_p = torch.cat([torch.ones_like(first), std], dim=1)
        if weights.kl_balance == 0.5:
            return gaussian_kl(path.mean1, path.std1, mean_p, std_p)
        to_prior = gaussian_kl(path.mean1.detach(), path.std1.detach(), mean_p, std_p)
        to_posterior = gaussian_kl(path.mean1, path.std1, mean_p.detach(), std_p.detach())
        return weights.kl_balance * to_prior + (1.0 - weights.kl_balance) * to_posterior

    def _image_error(self, latent: Tensor, image: Tensor, fraction: float) -> tuple[Tensor, int]:
        """Squared pixel error of a frame, mean over a random share of the observed frames, and the size of a frame.

        The mean over a random share has the mean over all frames as its expectation: decoding fewer adds noise only.
        """
        chosen = slice(None)
        if fraction < 1.0:
            count = max(1, round(len(latent) * fraction))
            chosen = torch.randperm(len(latent), device=latent.device)[:count]  # type: ignore[assignment]
        decoded = self.image(latent[chosen], self.filter.precision()).float()
        target = image[chosen].float() / 255.0
        return F.mse_loss(decoded, target, reduction="sum") / len(target), target[0].numel()

    def _reward_error(self, latent: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Squared error of the decoded reward, mean over the rows that have one."""
        error = (self.reward(latent).squeeze(-1) - target).square()
        return (error * valid).sum() / valid.sum().clamp(min=1.0)


def normal_log_likelihood(squared_error: Tensor, variance: float, size: int) -> Tensor:
    """log N(x; mean, variance) of `size` numbers, from the squared error summed over them [nats]."""
    return -0.5 * squared_error / variance - 0.5 * size * math.log(2.0 * math.pi * variance)


def _clipped(kl: Tensor, free_nats: float) -> Tensor:
    return kl.clamp(min=free_nats) if free_nats else kl


def _where(condition: Tensor, yes: tuple[Tensor, Tensor], no: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.where(condition, yes[0], no[0]), torch.where(condition, yes[1], no[1])


def _draw(parameters: tuple[Tensor, Tensor], noise: Tensor | None, row: int, part: slice) -> Tensor:
    """A sample of a Gaussian, or its mean without noise: (B, size)."""
    mean, std = parameters
    return mean if noise is None else mean + std * noise[:, row, part]
