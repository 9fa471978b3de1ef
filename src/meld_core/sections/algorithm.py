"""Settings of the algorithm: latent model, its losses, actor and critics, the learner."""

from __future__ import annotations

import dataclasses

from meld_core.settings import Section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """Latent state model: what the belief filter is made of (docs/ARCHITECTURE.md, notation in latent_model.py)."""

    kind: str = setting("recurrent", "Entry of meld_core.latent_model.LATENT_MODELS.")
    views: tuple[str, ...] = setting(("external", "wrist"), "Views the model looks at; a subset of sim.views.")
    shrink: int = setting(2, "Average this many pixels along each side before the encoder.", low=1, high=8)
    encoder: str = setting("keypoints", "Image encoder.", choices=("keypoints", "patches"))
    keypoints: int = setting(24, "Keypoints per view of the keypoint encoder.", low=1, high=256)
    keypoint_channels: int = setting(16, "Channels of the keypoint encoder.", low=1, high=256)
    channels: int = setting(64, "Channels of the patch encoder.", low=4, high=512)
    features: int = setting(128, "Width of the image features f_t.", low=8, high=2048)
    proprio_features: int = setting(32, "Width of the embedded tool position.", low=1, high=512)
    reward_repeats: int = setting(16, "The reward enters the memory this many times.", low=1, high=64)
    reward_scale: float = setting(3.0, "Factor on the reward input.", low=0.0, high=100.0)
    memory: int = setting(128, "Width of the GRU memory h_t.", low=8, high=2048)
    max_memory: int = setting(64, "Width of the running-maximum memory m_t; 0 switches it off.", low=0, high=1024)
    latent: int = setting(24, "Size of the Gaussian latent z_t.", low=1, high=512)
    hidden: int = setting(128, "Hidden width of the Gaussian heads and decoders.", low=8, high=2048)
    memory_skip: bool = setting(True, "Actor and critics also see the memories h and m, not only the latent.")
    skip: bool = setting(False, "Actor and critic also see the current image features.")
    readout: bool = setting(
        True, "Actor and critic also see where the belief says the ports are, and the reward it expects in each."
    )
    ports: int = setting(
        0,
        "Ports that belief and readout tell apart; 0: as many as the box has. Weights for another number of ports may "
        "act, not train, with this set to theirs.",
        low=0,
        high=16,
    )
    observe_tool: bool = setting(True, "Tool position is part of the observation (off: pictures only).")
    observe_reward: bool = setting(True, "Reward is part of the observation (off: the SLAC control).")
    observe_first: bool = setting(True, "The filter is told where an episode begins (off: as published).")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig(Section):
    """Weights of the model's negative ELBO."""

    image_weight: float = setting(5.0, "Weight of the squared pixel error, summed over the image.", low=0.0)
    image_fraction: float = setting(0.25, "Fraction of frames that are decoded per update.", low=0.01, high=1.0)
    kl_weight: float = setting(1.0, "Weight of KL(posterior || prior).", low=0.0)
    kl_balance: float = setting(
        0.5, "Share of the KL gradient that trains the prior; 0.5 is the plain KL.", low=0.0, high=1.0
    )
    free_nats: float = setting(0.0, "KL below this is not penalised.", unit="nats", low=0.0)
    reward_weight: float = setting(1.0, "Weight of the binary reward log-likelihood.", low=0.0)
    reward_positive_weight: float = setting(1.0, "Weight of rows with reward 1, of the others 1.", low=1.0)
    tool_weight: float = setting(20.0, "Weight of the squared tool position error.", low=0.0)
    query_weight: float = setting(60.0, "Weight of the query loss.", low=0.0)
    port_weight: float = setting(20.0, "Weight of the squared error of the taught port positions.", low=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SacConfig(Section):
    """Soft actor-critic on beliefs."""

    hidden: int = setting(256, "Width of both hidden layers of actor and critics.", low=8, high=4096)
    critics: int = setting(2, "Critics in the ensemble; the target is the smallest.", low=1, high=16)
    discount: float = setting(0.95, "gamma, per control step.", low=0.0, high=1.0)
    network: str = setting(
        "layer_norm", "Layers of actor and critics; plain: ReLU as published.", choices=("layer_norm", "plain")
    )
    n_step: int = setting(3, "Rewards summed before bootstrapping.", low=1, high=32)
    reward_index: str = setting(
        "next", "Reward of an action: the next row's, or, as published, its own row's.", choices=("next", "own")
    )
    across_episodes: bool = setting(True, "Value crosses the episode boundaries of a trial; off as published.")
    target_rate: float = setting(0.01, "Polyak rate tau of the target critics, per update.", low=0.0, high=1.0)
    initial_temperature: float = setting(0.002, "alpha at the start.", low=1e-6, high=10.0)
    spread: str = setting(
        "bounded",
        "Spread of the policy: below `max_std`; clipped: log std in [-20, 2] as published.",
        choices=("bounded", "clipped"),
    )
    max_std: float = setting(0.25, "Largest bounded spread of the policy before the squash.", low=0.011, high=10.0)
    target_entropy_per_action: float = setting(-1.5, "Target entropy divided by the action size.", unit="nats")
    entropy_backup: bool = setting(False, "Count the entropy of future actions in the critic target.")
    value_weight: float = setting(1.0, "Weight of the critics in the actor's loss; 0 only imitates.", low=0.0)
    cloning_weight: float = setting(1.0, "Weight of behaviour cloning on demonstrations.", low=0.0)
    cloning_until: float = setting(0.67, "Cloning fades linearly to `cloning_to` at this fraction.", low=0.0, high=1.0)
    cloning_to: float = setting(0.5, "Share of the cloning weight that stays to the end.", low=0.0, high=1.0)
    actor_average: float = setting(
        0.999, "Rate of the averaged actor that acts; 0 acts with the raw one.", low=0.0, high=1.0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnerConfig(Section):
    """Optimisation and its schedule, counted in trials so that results do not depend on the machine's speed."""

    model_rate: float = setting(1e-3, "Learning rate of the latent model.", low=0.0, high=1.0)
    sac_rate: float = setting(5e-4, "Learning rate of actor, critics and temperature.", low=0.0, high=1.0)
    decay_from: float = setting(
        0.5, "Learning rates fall linearly from this fraction of the run ...", low=0.0, high=1.0
    )
    decay_until: float = setting(0.95, "... to `decay_to` at this one.", low=0.0, high=1.0)
    decay_to: float = setting(0.05, "Final share of the learning rates.", low=0.0, high=1.0)
    grad_clip: float = setting(100.0, "Largest gradient norm; 0 clips nothing.", low=0.0)
    batch_trials: int = setting(16, "Whole trials per model update.", low=1, high=512)
    batch_transitions: int = setting(256, "Transitions per actor-critic update.", low=1, high=8192)
    cache_trials: int = setting(160, "Trials in the belief cache.", low=1, high=10000)
    demonstration_share: float = setting(0.25, "Share of each batch drawn from demonstrations.", low=0.0, high=1.0)
    relabel: float = setting(0.67, "Probability that a drawn trial is relabelled to another port.", low=0.0, high=1.0)
    corrections: bool = setting(
        True, "A scripted demonstrator labels every row by what its trial has shown so far; these labels are cloned."
    )
    pretrain_model_updates: int = setting(500, "Model updates before the first policy trial.", low=0)
    pretrain_ac_updates: int = setting(1000, "Actor-critic updates before the first policy trial.", low=0)
    update_every: int = setting(8, "Trials between rounds of updates.", low=1)
    model_updates: int = setting(50, "Model updates per round.", low=0)
    ac_updates: int = setting(400, "Actor-critic updates per round.", low=0)
    bf16: bool = setting(
        True,
        "Training: encoder, decoder, actor, critics multiply in bf16 where the device is faster in it; losses and "
        "acting stay fp32.",
    )
    threads: int = setting(0, "Threads of the learner; 0 leaves torch's choice.", low=0, high=256)
    device: str = setting("auto", "cpu, cuda or auto.", choices=("auto", "cpu", "cuda"))
