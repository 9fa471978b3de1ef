"""Settings of the RL² rival (baselines/rl2.py): sb3-contrib's RecurrentPPO. Discount and image size are our agent's."""

from __future__ import annotations

import dataclasses

from meld_core.settings import Section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rl2Config(Section):
    """RL² by RecurrentPPO, the rival of studies."""

    learning_rate: float = setting(3e-4, "Learning rate of Adam.", low=0.0, high=1.0)
    rollout: int = setting(1024, "Control steps between updates.", unit="steps", low=8, high=65536)
    batch: int = setting(256, "Control steps per gradient step, in whole sequences.", unit="steps", low=8, high=65536)
    epochs: int = setting(10, "Passes over each rollout.", low=1, high=100)
    gae_lambda: float = setting(0.95, "lambda of generalised advantage estimation.", low=0.0, high=1.0)
    clip: float = setting(0.2, "PPO's clip range.", low=0.0, high=1.0)
    entropy: float = setting(0.0, "Weight of the entropy bonus.", low=0.0, high=1.0)
    initial_log_std: float = setting(-0.5, "Logarithm of the policy's spread at the start.", low=-5.0, high=2.0)
    memory: int = setting(128, "Width of each LSTM, of actor and of critic.", low=4, high=2048)
    hidden: int = setting(128, "Width of the layer behind each LSTM.", low=4, high=2048)
