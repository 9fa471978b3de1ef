"""What an installed package offers, however it was installed; also run by `colcon test`."""

from __future__ import annotations

import importlib.metadata

import pytest

from meld_core.config import Config, ConfigError
from meld_ros.graph import GRAPHS
from meld_ros.share import config_file, config_names, resolve_config, share_dir


def test_share_holds_what_runs_need() -> None:
    for name in ("package.xml", "config/meld.yaml", "launch/train.launch.py", "config/rviz/meld.rviz"):
        assert (share_dir() / name).is_file(), name


@pytest.mark.parametrize("name", config_names())
@pytest.mark.parametrize("robot", config_names("robots"))
@pytest.mark.parametrize("task", config_names("tasks"))
def test_every_config_file_is_valid(name: str, robot: str, task: str) -> None:
    assert isinstance(resolve_config(robot, task, name), Config)


def test_a_wrong_name_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="^there is no 'smokee' in config; did you mean 'smoke'\\?$"):
        config_file("smokee")
    with pytest.raises(ConfigError, match="^there is no config file nowhere/smoke.yaml$"):
        config_file("nowhere/smoke.yaml")


def test_every_node_is_an_entry_point() -> None:
    points = {point.name: point.value for point in importlib.metadata.distribution("meld_ros").entry_points}
    nodes = {spec.executable for specs in GRAPHS.values() for spec in specs}
    assert points == {"meld": "meld_ros.cli:main"} | {node: f"meld_ros.{node}:main" for node in nodes}
