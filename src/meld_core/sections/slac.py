"""Settings of the published two-level latent model, `model.kind=slac`."""

from __future__ import annotations

import dataclasses

from meld_core.settings import Section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlacConfig(Section):
    """Two-level latent model of SLAC and MELD; `loss.kl_*`, `loss.free_nats`, `loss.image_fraction` hold here too."""

    base_depth: int = setting(
        32, "Channels of the first convolution; features and hidden layers are 8 times as wide.", low=1, high=128
    )
    latent1: int = setting(32, "Size of z1, which has a posterior of its own.", low=1, high=1024)
    latent2: int = setting(256, "Size of z2, which alone is carried from step to step.", low=1, high=2048)
    reward_repeats: int = setting(32, "The reward is appended to the image features this many times.", low=1, high=256)
    image_variance: float = setting(0.1, "Variance of a pixel, of the range [0, 1].", low=1e-4, high=10.0)
    reward_std: float = setting(0.2, "Standard deviation of the decoded reward.", low=0.01, high=10.0)
    reward_weight: float = setting(10.0, "Weight of the reward's log-likelihood.", low=0.0)
    bf16: bool = setting(
        True,
        "Training: encoder and decoder multiply in bf16 where the device is faster in it; likelihoods, KL and acting "
        "stay fp32.",
    )
