"""`meld data replay`: the agent acts on a bag's observations again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meld_core.config import ConfigError
from meld_core.storage.files import write_atomic
from meld_ros.bags import BagError
from meld_ros.bags.reader import open_bag
from meld_ros.commands.data import run_of, shown
from meld_ros.commands.training import require_ros

if TYPE_CHECKING:
    from meld_core.exchange.compare import Compared
    from meld_ros.commands.data_arguments import Replay

_SHOWN = 40
"""Trials in the table; all are in the file."""


def run(command: Replay) -> int:
    """0 where no action deviates by more than the tolerance, else 1."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as a graph's policy: sums in another order are other numbers
    require_ros()
    if not command.tolerance >= 0.0:
        raise ConfigError(f"--tolerance is {command.tolerance}, must be 0 or more")
    results = _compared(command)
    compared = [one for one in results if one.deviations]
    if not compared:
        reasons = sorted({one.reason for one in results if one.reason})
        raise BagError(
            f"{command.bag} holds no trial that can be replayed{': ' if reasons else ''}{'; '.join(reasons)}"
        )
    figures = _figures(results, command.tolerance)
    if command.json:
        write_atomic(Path(command.json), json.dumps(figures, indent=2).encode())
    _show(results, figures)
    return 0 if figures["equal"] else 1


def _compared(command: Replay) -> list[Compared]:
    from meld_core.exchange.compare import Comparison
    from meld_core.exchange.recorded import Recording
    from meld_core.weights import load_weights
    from meld_ros.bags.hear import Hearing, config_of, namespace_of

    folder = run_of(command.run) if command.run else None
    weights = load_weights(Path(command.weights)) if command.weights else None
    with open_bag(Path(command.bag)) as bag:
        namespace = namespace_of(bag, command.namespace)
        config = config_of(bag, folder, namespace)
        hearing = Hearing(bag, config, namespace, whole_weights=weights is None)
        comparison = Comparison(config, Recording(hearing), weights, command.tolerance)
        with shown("replaying", bag.count, hearing) as count:
            return list(comparison.run(count))


def _figures(results: Sequence[Compared], tolerance: float) -> dict[str, Any]:
    deviations = [deviation for one in results for deviation in one.deviations]
    first = next((one for one in results if one.first is not None), None)
    return {
        "trials": sum(1 for one in results if one.deviations),
        "not_compared": sum(1 for one in results if one.reason),
        "steps": len(deviations),
        "max_deviation": max(deviations),
        "mean_deviation": sum(deviations) / len(deviations),
        "tolerance": tolerance,
        "first_differing": None if first is None else [first.trial, *(first.first or ())],
        "equal": first is None,
        "each": [one.to_json() for one in results],
    }


def _show(results: Sequence[Compared], figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("trial", "by", "weights", "steps", "max deviation", "mean", "first differing")
    for one in results[:_SHOWN]:
        told = one.to_json()
        numbers = (
            f"{told[name]:.3g}" if told[name] is not None else "" for name in ("max_deviation", "mean_deviation")
        )
        where = one.reason or ("" if one.first is None else f"episode {one.first[0]} step {one.first[1]}")
        version = str(one.weights_version) if one.weights_version >= 0 else ""
        table.add_row(str(one.trial), one.source, version, str(told["steps"]), *numbers, where)
    Console().print(table)
    if len(results) > _SHOWN:
        print(f"... and {len(results) - _SHOWN} more trials", file=sys.stderr)
    verdict = "equal" if figures["equal"] else "not equal"
    print(
        f"{verdict}: {figures['steps']} actions of {figures['trials']} trials, largest deviation "
        f"{figures['max_deviation']:.3g}, mean {figures['mean_deviation']:.3g}, tolerance {figures['tolerance']:g}"
    )
