"""docs/REAL_ROBOT.md: every command on it parses, every config on it resolves, every service and topic exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import tyro

from meld_core.config import flatten, load_config, to_mapping
from meld_core.settings import Section
from meld_ros import cli
from meld_ros.commands import arguments, task_arguments
from meld_ros.launching import MODES, parse_arguments
from meld_ros.share import resolve_config

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "REAL_ROBOT.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, flags=re.DOTALL)
LINES = [
    line.split("   #")[0].strip()
    for kind, block in BLOCKS
    if kind == "bash"
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]
SETTINGS = {block.splitlines()[0].removeprefix("# "): block for kind, block in BLOCKS if kind == "yaml"}
MELD = [line for line in LINES if line.startswith("meld ")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page writes, in the folder of whoever follows it."""
    for name, text in SETTINGS.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_commands_and_settings() -> None:
    assert len(MELD) >= 12
    assert set(SETTINGS) == {"bench.yaml", "trial.yaml", "few.yaml"}
    assert {line.split()[0] for line in LINES} == {"meld", "ros2", "export"}


@pytest.mark.parametrize("line", MELD)
def test_a_command_of_meld_parses_and_its_config_resolves(line: str, folder: Path) -> None:
    words = shlex.split(line)[1:]
    command: Any = tyro.cli(cli._union(), prog="meld", args=words, config=(tyro.conf.FlagCreatePairsOff,))
    if isinstance(command, arguments.Launch):
        values = parse_arguments(command.mode, command.arguments)
        resolve_config(values["robot"], values["task"], values["config"])
    elif isinstance(command, arguments.Doctor):
        resolve_config(command.robot, command.task, command.config)
    elif isinstance(command, task_arguments.Task) and not isinstance(command.action, task_arguments.Attend):
        resolve_config(command.action.robot, "ethernet", command.action.config)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("ros2 launch meld_ros")])
def test_a_launch_file_is_there_and_takes_these_arguments(line: str) -> None:
    file, given = shlex.split(line)[3], shlex.split(line)[4:]
    assert (ROOT / "launch" / file).is_file()
    mode = file.removesuffix(".launch.py")
    if mode in MODES:
        values = parse_arguments(mode, given)
        resolve_config(values["robot"], values["task"], values["config"])


def source() -> str:
    """Everything that names a topic or a service."""
    files = [*(ROOT / "src" / "meld_ros").rglob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"ros2 (?:service call|topic echo) /(\w+)(?=[ `\n])", PAGE))))
def test_services_and_topics_are_ours(name: str) -> None:
    assert f'"{name}"' in source()


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_read_strictly(name: str, folder: Path) -> None:
    load_config([folder / name])


def test_every_setting_named_in_the_text_exists() -> None:
    known = flatten(to_mapping(load_config()))
    groups = {name.partition(".")[0] for name in known}
    named = {n for n in re.findall(r"`([a-z_]+\.[a-z_]+)(?:: [a-z]+|=[a-z]+)?`", PAGE) if n.partition(".")[0] in groups}
    assert len(named) > 10
    assert sorted(name for name in named if name not in known and not name.endswith((".yaml", ".png"))) == []
    assert issubclass(type(load_config()), Section)
