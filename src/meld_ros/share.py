"""Where the launch, config and URDF files lie, and how a config is put together from them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from meld_core.config import (
    Config,
    ConfigError,
    did_you_mean,
    from_mapping,
    load_config,
    merge,
    parse_override,
    read_yaml,
    to_mapping,
)

PACKAGE = "meld_ros"


def share_dir() -> Path:
    """The package's share folder: of a colcon install, of a pip install, or the source checkout itself.

    Raises:
        ConfigError: where none of them holds `config/meld.yaml`.
    """
    found = [folder for folder in _candidates() if (folder / "config" / "meld.yaml").is_file()]
    if not found:
        tried = ", ".join(str(folder) for folder in _candidates())
        raise ConfigError(f"config/meld.yaml is in none of {tried}; install the package again")
    return found[0]


def _candidates() -> list[Path]:
    source = Path(__file__).resolve().parents[2]
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    indexed = [p for p in prefixes if (p / "share/ament_index/resource_index/packages" / PACKAGE).is_file()]
    installed = [prefix / "share" / PACKAGE for prefix in [*indexed, Path(sys.prefix)]]
    in_checkout = (source / "package.xml").is_file() and not indexed
    return [source, *installed] if in_checkout else [*installed, source]


def config_names(folder: str = "") -> list[str]:
    """Names of the files in `config/` or a folder of it, without `.yaml`."""
    return sorted(path.stem for path in (share_dir() / "config" / folder).glob("*.yaml"))


def config_file(name: str, folder: str = "") -> Path:
    """The config file that a name or a path stands for.

    Raises:
        ConfigError: where there is none.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.parent != Path():
        if not path.is_file():
            raise ConfigError(f"there is no config file {path}")
        return path
    if name not in config_names(folder):
        where = f"config/{folder}" if folder else "config"
        raise ConfigError(f"there is no '{name}' in {where}{did_you_mean(name, config_names(folder))}")
    return share_dir() / "config" / folder / f"{name}.yaml"


def resolve_config(
    robot: str = "mujoco", task: str = "insertion", config: str = "", overrides: Sequence[str] = ()
) -> Config:
    """The settings of a run: later ones win, in this order.

    The defaults, `config/meld.yaml`, `config/robots/<robot>.yaml`, `config/tasks/<task>.yaml`, the config by name or
    path, then each `group.name=value`.

    Raises:
        ConfigError: on whatever does not exist or is not valid.
    """
    files = [config_file("meld"), config_file(robot, "robots"), config_file(task, "tasks")]
    return load_config([*files, *([config_file(config)] if config else [])], overrides)


def laid_over(config: Config, name: str) -> Config:
    """A config with a config file, by name or path, on top. Raises ConfigError as `resolve_config`."""
    path = config_file(name)
    differences = read_yaml(path)
    try:
        from_mapping(Config, differences)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return from_mapping(Config, merge(to_mapping(config), differences))


def overridden(config: Config, overrides: Sequence[str]) -> Config:
    """A config with some settings changed, each `group.name=value`. Raises ConfigError as `resolve_config`."""
    raw = to_mapping(config)
    for override in overrides:
        raw = merge(raw, parse_override(override))
    return from_mapping(Config, raw)
