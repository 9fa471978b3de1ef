"""One cell of a study: a row with one seed. Its folder, what state it is in, and what it left when it was finished.

A cell's folder is a run's folder (docs/ARCHITECTURE.md) with beside it

    evaluation.yaml   the settings of the evaluation (config.yaml holds those of the training)
    evaluation/       raw held-out trials, pictures reduced to one pixel; every figure is scored from these
    effort.jsonl      wall and CPU time
    cell.json         written last: who, what, when, with which code; no figure of the evaluation
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from meld_core.config import Config, ConfigError, dump_config, flatten, load_config, to_mapping
from meld_core.evaluation.every_port import each_port_live
from meld_core.schedule import TrialPlan, held_out_plans
from meld_core.storage.files import make_folder, write_atomic
from meld_core.storage.run_folder import RunFolder
from meld_core.study.table import Row, Settings, StudyError

EVIDENCE = 1
"""Raised whenever a change of the code changes what a cell would come to: cells of an older version are run again."""
FACTS_FILE = "cell.json"
EVALUATION_FILE = "evaluation.yaml"
EVALUATION = "evaluation"

_RESULT_CODE = (
    "accelerator.py", "agent.py", "arm/*.py", "baselines/*.py", "batch.py", "belief_cache.py", "descent.py",
    "detectors/*.py", "driver.py", "evaluation/scoring.py", "hindsight.py", "kinematics.py", "known_trials.py",
    "latent_*.py", "learner.py", "nets.py", "replay.py", "rewards.py", "robot.py", "rollout.py", "sac*.py",
    "schedule.py", "scripted_search.py", "sections/*.py", "sim/*.py", "slac/*.py", "task*.py", "train.py", "trial.py",
    "types.py", "views.py",
)  # fmt: skip
"""Sources that decide what a cell comes to."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row with one seed, and where it lies."""

    name: str
    """Of the row."""
    seed: int
    row: Row
    settings: Settings
    out: Path
    """Folder of the study."""

    @property
    def folder(self) -> RunFolder:
        """Where everything of the cell lies."""
        return RunFolder(self.out / f"{self.name}-s{self.seed}")

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.name} (seed {self.seed})"

    @property
    def evaluation(self) -> Path:
        """Folder of the raw evaluation trials."""
        return self.folder.path / EVALUATION

    def of(self, name: str) -> RunFolder:
        """Folder of another row's cell with this seed."""
        return RunFolder(self.out / f"{name}-s{self.seed}")

    def facts(self) -> dict[str, Any] | None:
        """What is known about the finished cell; None before."""
        return read_facts(self.folder)


def plans_of(cell: Cell) -> list[TrialPlan]:
    """The trials of a cell's evaluation. Raises StudyError where `every_port` meets tasks whose live port moves."""
    config = cell.settings.evaluation
    plans = held_out_plans(config, config.eval.trials, config.eval.task_seed)
    if not cell.row.every_port:
        return plans
    if config.task.switch_probability:
        raise StudyError(f"row '{cell.name}': every_port holds the live port, task.switch_probability moves it")
    return each_port_live(plans, config.task.ports)


def read_facts(folder: RunFolder) -> dict[str, Any] | None:
    """`cell.json` of a folder; None where there is none."""
    try:
        return dict(json.loads((folder.path / FACTS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def change_of(cell: Cell) -> str:
    """Why what lies in the cell's folder is not what the table says now; empty where it is, or nothing is there."""
    facts = cell.facts()
    if facts is not None and facts.get("evidence") != EVIDENCE:
        return f"made by version {facts.get('evidence')} of the code, now {EVIDENCE}"
    for path, wanted in _config_files(cell).items():
        if path.is_file() and (text := _difference(path, wanted)):
            return text
    for name, now in _recipe(cell.row).items():
        if facts is not None and (was := facts.get("recipe", {}).get(name, now)) != now:
            return f"{name} was {was}, is {now}"
    if facts is not None and cell.row.weights_of:
        source = read_facts(cell.of(cell.row.weights_of)) or {}
        if source.get("weights_sha256") != facts.get("weights_sha256"):
            return f"the weights of row '{cell.row.weights_of}' are others now"
    return ""


def _recipe(row: Row) -> dict[str, Any]:
    """What a row says besides settings that decides what its cells come to."""
    names = ("agent", "every_port", "weights_of", "cpu_of", "steps_of", "times", "cpu_hours")
    return {name: getattr(row, name) for name in names}


def is_finished(cell: Cell) -> bool:
    """Whether the cell is done, as the table has it now."""
    return cell.facts() is not None and not change_of(cell)


def _config_files(cell: Cell) -> dict[Path, Config]:
    files = {cell.folder.path / EVALUATION_FILE: cell.settings.evaluation}
    return {**files, cell.folder.config_file: cell.settings.training} if cell.row.trained else files


def _difference(path: Path, wanted: Config) -> str:
    """Settings in which a stored config differs; one that was stored before a setting existed has its default."""
    try:
        stored = flatten(to_mapping(load_config([path])))
    except ConfigError as error:
        return str(error)
    now = flatten(to_mapping(wanted))
    changed = [f"{name} was {stored[name]}, is {now[name]}" for name in now if stored[name] != now[name]]
    return "; ".join(changed)


def prepare(cell: Cell) -> None:
    """Make the folder. What is there and does not belong to the cell any more is set aside, never mixed in.

    Raises:
        StorageError: where the disk refuses.
    """
    if change_of(cell):
        set_aside(cell)
    make_folder(cell.evaluation)
    for path, config in _config_files(cell).items():
        if path.name == EVALUATION_FILE and not path.is_file():
            write_atomic(path, dump_config(config).encode())


def set_aside(cell: Cell) -> Path:
    """Move the cell's folder to `replaced/`; returns where it went."""
    place = make_folder(cell.out / "replaced")
    number = sum(1 for _ in place.glob(f"{cell.folder.name}.*"))
    target = place / f"{cell.folder.name}.{number}"
    cell.folder.path.rename(target)
    return target


def drop_bulk(cell: Cell) -> None:
    """Remove what only a running training needs, hundreds of megabytes: replay, spool, checkpoints, old weights."""
    folder = cell.folder
    for path in (folder.replay, folder.spool, folder.checkpoints, folder.tensorboard):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.weights.glob("[0-9]*.safetensors"):
        path.unlink(missing_ok=True)


def write_facts(cell: Cell, facts: Mapping[str, Any]) -> None:
    """Finish the cell.

    Raises:
        StorageError: where the disk refuses.
    """
    whole = {
        "evidence": EVIDENCE,
        "row": cell.name,
        "seed": cell.seed,
        "recipe": _recipe(cell.row),
        "training_sha256": cell.settings.training.digest(),
        "evaluation_sha256": cell.settings.evaluation.digest(),
        "code": code_digests(),
        "machine": machine(),
        **facts,
    }
    write_atomic(cell.folder.path / FACTS_FILE, (json.dumps(whole, indent=2, sort_keys=True) + "\n").encode())


def code_digests() -> dict[str, str]:
    """Source file → first 12 digits of its sha256, for all that decide what a cell comes to."""
    root = Path(__file__).parent.parent
    paths = sorted(path for pattern in _RESULT_CODE for path in root.glob(pattern))
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in paths}


def machine() -> str:
    """Processor, cores, system, Python and torch of this machine."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, torch {version('torch')}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
