"""Everything that is told of an agent's beliefs, made while it is evaluated: the probe, its controls, pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meld_core.config import Config
from meld_core.evaluation.beliefs import BeliefReader, find_reconstructor
from meld_core.evaluation.probes import FOLDS, BeliefCollector, ProbedTrial, expected_curves, probe_table
from meld_core.reporting.belief_plots import plot_probes, plot_reconstructions, plot_strips
from meld_core.storage.files import make_folder, write_atomic
from meld_core.types import Trial
from meld_core.weights import Weights

SCHEMA = "meld_ros/probes/1"
PROBES_FILE = "probes.json"


class BeliefStudy:
    """Collects beliefs of evaluated trials: those with the belief carried, and those with it cleared."""

    def __init__(self, config: Config, weights: Weights) -> None:
        """Raises WeightsError where the weights do not fit the config."""
        self._config, self._weights = config, weights
        self.reader = BeliefReader(config, weights)
        self._collectors = {
            "carried": BeliefCollector(self.reader),
            "hidden": BeliefCollector(self.reader, hide_reward=True),
            "cleared": BeliefCollector(BeliefReader(config, weights, clear_belief=True)),
        }

    def carried(self, index: int, trial: Trial) -> None:
        """A trial whose belief was carried; an `OnTrial`. It is filtered once more with every reward hidden."""
        self._collectors["carried"](index, trial)
        self._collectors["hidden"](index, trial)

    def cleared(self, index: int, trial: Trial) -> None:
        """A trial whose belief was forgotten between episodes; an `OnTrial`."""
        self._collectors["cleared"](index, trial)

    def probes(self) -> dict[str, Any] | None:
        """See `probes_of`; None where fewer tasks were evaluated than a probe needs."""
        trials = {name: collector.in_order() for name, collector in self._collectors.items()}
        if len(trials["carried"]) < FOLDS:
            return None
        return probes_of({name: found for name, found in trials.items() if found}, self._config, self._weights)

    def draw(
        self, probes: Mapping[str, Any] | None, folder: Path, filmed: Sequence[Trial], checkpoints: Path
    ) -> dict[str, Path]:
        """Write probes.json and the pictures of a report; name → PNG, as far as they can be made."""
        drawn: dict[str, Path | None] = {}
        if probes is not None:
            write_probes(probes, folder / PROBES_FILE)
            drawn["probes"] = plot_probes(probes, folder / "beliefs.png")
        if filmed:
            traces = [self.reader.trace(trial) for trial in filmed]
            drawn["strips"] = plot_strips(traces, folder / "expected_rewards.png")
            drawn["reconstructions"] = self._reconstructions(filmed[0], checkpoints, folder / "reconstructions.png")
        return {name: path for name, path in drawn.items() if path is not None}

    def _reconstructions(self, trial: Trial, checkpoints: Path, path: Path) -> Path | None:
        decoder = find_reconstructor(self._config, checkpoints, self._weights)
        return plot_reconstructions(*decoder.pictures(trial), self._config.model.views, path) if decoder else None


def probes_of(trials: Mapping[str, Sequence[ProbedTrial]], config: Config, weights: Weights) -> dict[str, Any]:
    """Plain JSON of all readers' probes.

    Returns:
        `readers`: carried, hidden and cleared, each as `probes.probe_table`; `expected`: `probes.expected_curves` of
        the carried belief.
    """
    return {
        "schema": SCHEMA,
        "simulated": config.robot.kind == "mujoco",
        "split": config.eval.split,
        "trials": len(trials["carried"]),
        "folds": FOLDS,
        "chance": 1.0 / config.task.ports,
        "weights_sha256": weights.digest,
        "readers": {name: probe_table(found, config.task.ports) for name, found in trials.items()},
        "expected": expected_curves(trials["carried"]),
    }


def write_probes(probes: Mapping[str, Any], path: Path) -> None:
    """Write atomically. Raises StorageError where the disk refuses."""
    make_folder(path.parent)
    write_atomic(path, (json.dumps(probes, indent=2, allow_nan=False) + "\n").encode())
