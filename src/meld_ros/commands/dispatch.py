"""What each command of `meld` does. ROS and torch are imported where they are needed, so that `--help` is quick."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meld_core.config import Config, ConfigError, check_engine, check_trainable, from_mapping
from meld_core.storage.run_folder import RunFolder, named_run, run_folder
from meld_ros.launching import arguments_of, new_run_name, parse_arguments, prepare
from meld_ros.share import overridden, resolve_config

if TYPE_CHECKING:
    from meld_core.weights import Weights
    from meld_ros.commands.arguments import Eval, Launch, Probe, Sweep, Train


def train(command: Train, line: str) -> int:
    """`meld train`."""
    from meld_ros.commands.training import run_training

    overrides = [*itertools.chain(*command.set), *([f"robot.reset={command.reset}"] if command.reset else [])]
    if command.from_data:
        from meld_ros.commands.offline import prepare_from_data

        return run_training(*prepare_from_data(command, overrides), in_process=True, line=line)
    if command.resume:
        config, folder = _resumed(command, overrides)
    else:
        config = resolve_config(command.robot, command.task, command.config, overrides)
        folder = run_folder(command.run or new_run_name("train"))
    check_trainable(config)
    check_engine(config)
    folder = RunFolder(folder.path.resolve()).create(config, resume=command.resume)
    return run_training(config, folder, in_process=command.in_process, line=line)


def _resumed(command: Train, overrides: list[str]) -> tuple[Config, RunFolder]:
    if not command.run:
        raise ConfigError("--resume needs --run NAME to say which run to go on with")
    if command.config:
        raise ConfigError("--resume goes on with the run's own settings; leave --config out")
    folder = run_folder(command.run).open()
    config = folder.read_config()
    if config.train.fixed_data:
        from meld_core.exchange.offline import check_taken_in

        check_taken_in(folder)
    return overridden(config, overrides), folder


def evaluate(command: Eval, line: str) -> int:
    """`meld eval`."""
    from meld_ros.commands.evaluation import run_evaluation, show_recorded

    if command.recorded:
        if not command.run or not command.only_recorded:
            raise ConfigError("--recorded scores what --run DIR holds; it goes with no other option")
        folder = named_run(command.run).open()
        return show_recorded(folder, folder.read_config(), line)
    return run_evaluation(*_chosen(command), command, line)


def sweep(command: Sweep, line: str) -> int:
    """`meld sweep`."""
    from meld_ros.commands.sweep import run_sweep_command

    return run_sweep_command(*_chosen(command), command)


def probe(command: Probe, line: str) -> int:
    """`meld probe`."""
    from meld_ros.commands.probe import run_probe

    return run_probe(*_chosen(command), command)


def _chosen(command: Eval | Sweep | Probe) -> tuple[Config, Weights, RunFolder | None]:
    """Config, weights and, where known, the run that a person named."""
    if bool(command.run) == bool(command.weights):
        raise ConfigError("say what to evaluate: either --run DIR or --weights FILE")
    config, weights, folder = _of_run(command.run) if command.run else _of_file(command.weights)
    config = overridden(config, list(itertools.chain(*command.set)))
    weights.check_fits(config)
    return config, weights, folder


def _of_run(name: str) -> tuple[Config, Weights, RunFolder]:
    from meld_core.evaluate import final_weights

    folder = named_run(name).open()
    return folder.read_config(), final_weights(folder), folder


def _of_file(name: str) -> tuple[Config, Weights, None]:
    from meld_core.demo import DEMO, demo_weights
    from meld_core.weights import load_weights

    weights = demo_weights() if name == DEMO else load_weights(Path(name))
    return from_mapping(Config, weights.config), weights, None


def launch(command: Launch, line: str) -> int:
    """`meld launch`."""
    from meld_ros.commands.training import require_ros, run_graph

    if command.show_args:
        for argument in arguments_of(command.mode):
            choices = f" [{', '.join(argument.choices())}]" if argument.choices else ""
            print(f"{argument.name}:={argument.default or '...'}  {argument.description}{choices}")
        return 0
    values = parse_arguments(command.mode, command.arguments)
    require_ros()
    config, folder, processes = prepare(command.mode, values)
    print(f"run folder: {folder.path}", file=sys.stderr)
    outcome, _ = run_graph(processes, folder, quiet=False)
    print(f"meld: {outcome.reason}", file=sys.stderr)
    if command.mode == "eval" and outcome.finished:
        from meld_ros.commands.evaluation import show_recorded

        return show_recorded(folder, config, line)
    return outcome.code
