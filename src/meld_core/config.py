"""Every setting of the system: default, unit, range and meaning. The only home of a default.

Files in `config/` are plain YAML that hold only differences from these dataclasses. Reading is strict: an unknown
key, a wrong type or a value outside its range is a ConfigError that says what came, what would do and where.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from meld_core.config_camera import CameraConfig
from meld_core.config_driver import DriverConfig
from meld_core.config_reward import RewardConfig
from meld_core.config_rl2 import Rl2Config
from meld_core.config_slac import SlacConfig
from meld_core.config_storage import RollbackConfig, StorageConfig
from meld_core.settings import ConfigError, Section, did_you_mean, flatten, from_mapping, setting, to_mapping

__all__ = ["Config", "ConfigError", "Section", "did_you_mean", "flatten", "from_mapping", "load_config"]
__all__ += ["CameraConfig", "RewardConfig", "SlacConfig", "setting", "to_mapping"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig(Section):
    """The family of tasks: a box with identical ports of which one is live."""

    name: str = setting("insertion", "Entry of meld_core.tasks.TASKS.")
    episodes: int = setting(2, "Episodes per trial, K.", low=1, high=16)
    switch_probability: float = setting(
        0.0, "Before each later episode the live port moves to another one this likely.", low=0.0, high=1.0
    )
    horizon: int = setting(40, "Most steps of an episode, T.", unit="steps", low=1, high=1000)
    episode_form: str = setting("end_on_success", "When an episode ends.", choices=("end_on_success", "fixed_length"))
    ports: int = setting(3, "Ports on the box.", low=1, high=6)
    port_spacing: float = setting(0.044, "Distance between port centres.", unit="m", low=0.03, high=0.1)
    clearance: float = setting(0.005, "Gap between plug and port on each side.", unit="m", low=0.0005, high=0.01)
    depth: float = setting(0.010, "Insertion depth at which the plug is seated.", unit="m", low=0.004, high=0.03)
    box_center: tuple[float, float, float] = setting(
        (0.30, 0.0, 0.06), "Centre of the box's top face in base_link, mean over tasks.", unit="m"
    )
    box_range: tuple[float, float] = setting(
        (0.020, 0.025), "Box position varies by this much along x and y, either way.", unit="m", low=0.0, high=0.1
    )
    box_yaw_range: float = setting(0.15, "Box heading varies by this much, either way.", unit="rad", low=0.0, high=0.8)
    box_beyond: tuple[float, float] = setting(
        (0.0, 0.0), "Only box positions off by more than this along x or y (evaluation only).", unit="m", low=0.0
    )
    box_yaw_beyond: float = setting(0.0, "Only box headings beyond this (evaluation only).", unit="rad", low=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimConfig(Section):
    """The MuJoCo simulation."""

    timestep: float = setting(0.002, "Physics step.", unit="s", low=0.0005, high=0.01)
    image_size: int = setting(64, "Height and width of one policy view.", unit="px", low=16, high=512)
    views: tuple[str, ...] = setting(("external", "wrist"), "Policy cameras, stacked from top to bottom.")
    detector_size: int = setting(64, "Height and width of the detector view.", unit="px", low=16, high=512)
    renderer: str = setting(
        "auto", "OpenGL back end; auto tries egl, osmesa, warp.", choices=("auto", "egl", "osmesa", "warp")
    )
    start_noise: float = setting(0.010, "Start position varies by this much, either way.", unit="m", low=0.0, high=0.03)
    camera_jitter: float = setting(0.0, "Camera position varies per task by this much.", unit="m", low=0.0, high=0.05)
    light_jitter: float = setting(0.0, "Brightness varies per task by this fraction.", low=0.0, high=0.9)
    image_noise: float = setting(0.0, "Standard deviation of pixel noise, of 255.", low=0.0, high=64.0)
    action_delay: int = setting(0, "The arm moves this many steps after its command.", unit="steps", low=0, high=8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobotConfig(Section):
    """The arm and its control."""

    kind: str = setting("mujoco", "Entry of meld_ros.robots.ROBOTS.")
    name: str = setting("wx250s", "Name of the arm, part of every trial id.")
    mode: str = setting("lockstep", "Who keeps time (docs/ARCHITECTURE.md).", choices=("lockstep", "realtime"))
    control_period: float = setting(0.25, "Length of one step.", unit="s", low=0.01, high=2.0)
    step_size: float = setting(0.020, "Tool displacement of an action of 1.", unit="m", low=0.001, high=0.05)
    workspace_size: tuple[float, float, float] = setting(
        (0.12, 0.20, 0.05), "Box in which the tool may move, around the task's centre.", unit="m", low=0.01, high=0.6
    )
    workspace_below: float = setting(
        0.015, "How far the workspace reaches below the port mouths.", unit="m", low=0.0, high=0.05
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateConfig(Section):
    """MotionGate: what a command must satisfy before the arm moves."""

    expiry_periods: float = setting(1.5, "A command expires after this many control periods.", low=1.0, high=5.0)
    max_age: float = setting(0.5, "Oldest accepted stamp in realtime.", unit="s", low=0.02, high=5.0)
    max_future: float = setting(0.05, "Furthest accepted stamp in the future.", unit="s", low=0.0, high=1.0)
    policy_lease: float = setting(0.1, "Liveliness lease of the commanding policy.", unit="s", low=0.02, high=5.0)
    workspace_margin: float = setting(0.001, "Stop this far inside the workspace.", unit="m", low=0.0, high=0.02)
    max_joint_jump: float = setting(0.8, "Implausible change of a joint between two states.", unit="rad", low=0.05)
    max_tracking_error: float = setting(0.06, "Tool may lag its target by this much.", unit="m", low=0.005)
    tracking_patience: float = setting(0.5, "Lag allowed for this long before STOPPED.", unit="s", low=0.05)
    step_timeout: float = setting(2.0, "Lockstep: re-publish a step that got no action after.", unit="s", low=0.05)
    step_retries: int = setting(5, "Lockstep: re-publish at most this often, then HOLD.", low=0, high=100)


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
    observe_tool: bool = setting(True, "Tool position is part of the observation (off: pictures only).")
    observe_reward: bool = setting(True, "Reward is part of the observation (off: the SLAC control).")


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
    reward_weight: float = setting(20.0, "Weight of the binary reward log-likelihood.", low=0.0)
    reward_positive_weight: float = setting(10.0, "Extra weight of rows with reward 1.", low=1.0)
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
    ac_updates: int = setting(
        800, "Actor-critic updates per round (`ac_updates_per_model_update` times as many).", low=0
    )
    bf16: bool = setting(True, "Actor-critic: round factors of matrix products to bf16; sums and losses stay fp32.")
    threads: int = setting(0, "Threads of the learner; 0 leaves torch's choice.", low=0, high=256)
    device: str = setting("auto", "cpu, cuda or auto.", choices=("auto", "cpu", "cuda"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """The run: how many trials, from whom."""

    seed: int = setting(0, "Seed of tasks, weights and exploration.", low=0)
    trials: int = setting(600, "Trials of the run, demonstrations included.", low=1)
    demonstrations: int = setting(60, "First trials, by the scripted search.", low=0)
    random_trials: int = setting(0, "Then this many trials of uniformly random actions.", low=0)
    script_noise: float = setting(
        0.25,
        "A scripted trial draws the noise on its actions from 0 to this; the clean one is cloned.",
        low=0.0,
        high=2.0,
    )
    lead: int = setting(1, "Trial n starts with weights trained through trial n-lead.", low=1, high=64)
    checkpoint_every: int = setting(40, "Trials between checkpoints.", low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig(Section):
    """Held-out evaluation at the end of a run."""

    trials: int = setting(200, "Held-out tasks.", low=1)
    task_seed: int = setting(1000, "Seed of the held-out tasks.", low=0)
    split: str = setting("held_out", "Tasks to evaluate on.", choices=("train", "validation", "held_out"))
    greedy: bool = setting(True, "Act with the mean action on the mean belief.")
    clear_belief: bool = setting(False, "Forget the belief between episodes (control).")
    baselines: bool = setting(True, "Also evaluate the untrained agent and the cleared belief on the same tasks.")
    beliefs: bool = setting(True, "Probe the beliefs of the evaluated trials, and show them in report and video.")
    video_trials: int = setting(6, "Held-out trials in the video.", low=0, high=100)
    processes: int = setting(2, "Worker processes; the result does not depend on it.", low=1, high=64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Section):
    """Everything."""

    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    sim: SimConfig = dataclasses.field(default_factory=SimConfig)
    robot: RobotConfig = dataclasses.field(default_factory=RobotConfig)
    driver: DriverConfig = dataclasses.field(default_factory=DriverConfig)
    gate: GateConfig = dataclasses.field(default_factory=GateConfig)
    camera: CameraConfig = dataclasses.field(default_factory=CameraConfig)
    """Of the first policy view; its stamps are the observation's."""
    wrist_camera: CameraConfig = dataclasses.field(default_factory=lambda: CameraConfig(name="wrist"))
    """Of the second policy view."""
    detector_camera: CameraConfig = dataclasses.field(default_factory=lambda: CameraConfig(name="detector"))
    """Of the reward detector; without a device it crops the first camera's picture."""
    reward: RewardConfig = dataclasses.field(default_factory=RewardConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    slac: SlacConfig = dataclasses.field(default_factory=SlacConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    sac: SacConfig = dataclasses.field(default_factory=SacConfig)
    learner: LearnerConfig = dataclasses.field(default_factory=LearnerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    rl2: Rl2Config = dataclasses.field(default_factory=Rl2Config)
    storage: StorageConfig = dataclasses.field(default_factory=StorageConfig)
    rollback: RollbackConfig = dataclasses.field(default_factory=RollbackConfig)

    def digest(self) -> str:
        """sha256 of the resolved config."""
        return hashlib.sha256(json.dumps(to_mapping(self), sort_keys=True).encode()).hexdigest()


class _Loader(yaml.SafeLoader):
    """Safe YAML in which no key may be given twice: plain YAML would silently keep the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"'{twice[0]}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not readable YAML: {' '.join(str(error).split())}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file of differences. Raises ConfigError where it is missing or not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no config file {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot read config file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not readable YAML: it is not UTF-8 text") from None
    raw = _parse_yaml(text, str(path))
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold settings as 'group: {{name: value}}', got {type(raw).__name__}")
    return raw


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` wins, group by group."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def parse_override(text: str) -> dict[str, Any]:
    """'sac.discount=0.9' → {'sac': {'discount': 0.9}}; the value is YAML."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"'{text}' is not of the form group.name=value")
    nested: Any = _parse_yaml(value, f"the value in '{text}'")
    for key in reversed(path.split(".")):
        nested = {key: nested}
    return dict(nested)


def load_config(paths: Sequence[Path] = (), overrides: Sequence[str] = ()) -> Config:
    """Defaults, then each file's differences in order, then 'group.name=value' overrides."""
    raw: dict[str, Any] = {}
    for path in paths:
        differences = read_yaml(path)
        try:
            from_mapping(Config, differences)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        raw = merge(raw, differences)
    for override in overrides:
        raw = merge(raw, parse_override(override))
    return from_mapping(Config, raw)


def dump_config(config: Config) -> str:
    """The resolved config as YAML."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)
