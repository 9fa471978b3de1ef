"""The config: every section of settings (`sections/`: default, unit, range and meaning) put together, read and checked.

Files in `config/` are plain YAML that hold only differences from these dataclasses. Reading is strict: an unknown
key, a wrong type or a value outside its range is a ConfigError that says what came, what would do and where.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from meld_core.sections.algorithm import LearnerConfig, LossConfig, ModelConfig, SacConfig
from meld_core.sections.bench import GateConfig, RobotConfig, SimConfig, TaskConfig
from meld_core.sections.camera import CameraConfig
from meld_core.sections.driver import DriverConfig
from meld_core.sections.reward import RewardConfig
from meld_core.sections.rl2 import Rl2Config
from meld_core.sections.run import EvalConfig, PolicyConfig, TrainConfig
from meld_core.sections.slac import SlacConfig
from meld_core.sections.storage import RollbackConfig, StorageConfig
from meld_core.sections.teleop import TeleopConfig
from meld_core.settings import ConfigError, Section, did_you_mean, flatten, from_mapping, setting, to_mapping

__all__ = ["Config", "ConfigError", "Section", "did_you_mean", "flatten", "from_mapping", "load_config"]
__all__ += ["CameraConfig", "EvalConfig", "GateConfig", "LearnerConfig", "LossConfig", "ModelConfig", "RewardConfig"]
__all__ += [
    "PolicyConfig",
    "RobotConfig",
    "SacConfig",
    "SimConfig",
    "SlacConfig",
    "TaskConfig",
    "TeleopConfig",
    "TrainConfig",
    "setting",
    "to_mapping",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Section):
    """Everything."""

    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    sim: SimConfig = dataclasses.field(default_factory=SimConfig)
    robot: RobotConfig = dataclasses.field(default_factory=RobotConfig)
    driver: DriverConfig = dataclasses.field(default_factory=DriverConfig)
    gate: GateConfig = dataclasses.field(default_factory=GateConfig)
    teleop: TeleopConfig = dataclasses.field(default_factory=TeleopConfig)
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
    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    rl2: Rl2Config = dataclasses.field(default_factory=Rl2Config)
    storage: StorageConfig = dataclasses.field(default_factory=StorageConfig)
    rollback: RollbackConfig = dataclasses.field(default_factory=RollbackConfig)

    def digest(self) -> str:
        """sha256 of the resolved config."""
        return hashlib.sha256(json.dumps(to_mapping(self), sort_keys=True).encode()).hexdigest()


def known_ports(config: Config) -> int:
    """Ports that belief and readout tell apart: those of the box, unless the agent was trained on another box."""
    return config.model.ports or config.task.ports


def check_trainable(config: Config) -> None:
    """Raises ConfigError where networks know another number of ports than there are, or nobody knows the reward."""
    if known_ports(config) != config.task.ports:
        raise ConfigError(
            f"model.ports is {config.model.ports}, task.ports {config.task.ports}: such an agent may act, not train; "
            "leave model.ports at 0"
        )
    if config.reward.training == "shaped" and config.robot.kind != "mujoco":
        raise ConfigError(
            f"only the simulator knows the shaped reward, robot.kind is {config.robot.kind}: set reward.training=sparse"
        )


def packages_missing_for_onnx() -> list[str]:
    """What `policy.engine=onnx` needs and is not installed."""
    return [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]


def check_engine(config: Config) -> None:
    """Raises ConfigError where `policy.engine` names what is not installed."""
    if config.policy.engine == "onnx" and (missing := packages_missing_for_onnx()):
        raise ConfigError(
            f"policy.engine is onnx, but {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'meld_ros[onnx]', or set policy.engine=torch"
        )


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
    return dump_yaml(to_mapping(config))


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as YAML, in their order."""
    return yaml.safe_dump(values, sort_keys=False, width=2**31)
