"""A run's folder: where everything of one training lies, and who may write there."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from meld_core.config import Config, ConfigError, did_you_mean, dump_config, flatten, load_config, to_mapping
from meld_core.storage.files import locked, make_folder, write_atomic

RUNS = Path("runs")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class RunError(RuntimeError):
    """This run cannot be started or opened; the text is one clear sentence."""


def run_folder(name: str, root: Path = RUNS) -> RunFolder:
    """The folder of a named run, which need not exist yet.

    Raises:
        RunError: where the name cannot be a folder and part of a trial's id.
    """
    if not _NAME.fullmatch(name):
        raise RunError(f"run name {name!a} must be up to 64 of A-Z a-z 0-9 _ . - and begin with a letter or digit")
    return RunFolder(root / name)


def named_run(name: str) -> RunFolder:
    """The folder of a run that a person named: one in `runs`, or any folder by its path."""
    return run_folder(name) if Path(name).name == name and not Path(name).is_dir() else RunFolder(Path(name))


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name, part of every trial id."""
        return self.path.name

    @property
    def config_file(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def taught(self) -> Path:
        """The ports as they were taught when the run began (`task.taught`)."""
        return self.path / "taught.yaml"

    @property
    def replay(self) -> Path:
        """Trials that the learner has."""
        return self.path / "replay"

    @property
    def spool(self) -> Path:
        """Trials on their way to the learner."""
        return self.path / "spool"

    @property
    def weights(self) -> Path:
        """Versioned weights."""
        return self.path / "weights"

    @property
    def checkpoints(self) -> Path:
        """The learner's full state."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The same for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def training(self) -> Path:
        """What the training came to; there once it is complete and the final weights are."""
        return self.path / "training.json"

    @property
    def videos(self) -> Path:
        """Films of trials."""
        return self.path / "videos"

    @property
    def certificate(self) -> Path:
        """Held-out evaluation."""
        return self.path / "certificate.json"

    @property
    def evaluation(self) -> Path:
        """Held-out trials that ran through the graph: a spool."""
        return self.path / "evaluation"

    @property
    def evaluation_certificate(self) -> Path:
        """What they came to."""
        return self.evaluation / "certificate.json"

    @property
    def report(self) -> Path:
        """What a person reads."""
        return self.path / "report.html"

    def create(self, config: Config, *, resume: bool = False) -> RunFolder:
        """Make the folder and store the config, or with `resume` go on from it.

        Raises:
            RunError: where a run of this name exists and `resume` is off, or its config or its taught ports differ.
            StorageError: where the disk refuses.
        """
        if self.config_file.is_file():
            self._check_resume(config, resume)
        for folder in (self.path, self.replay, self.spool, self.weights, self.checkpoints, self.videos):
            make_folder(folder)
        if not self.config_file.is_file():  # written last: a folder with a config is a whole one
            if config.task.taught:
                write_atomic(self.taught, _taught_bytes(config))
            write_atomic(self.config_file, dump_config(config).encode())
        return self

    def _check_resume(self, config: Config, resume: bool) -> None:
        if not resume:
            raise RunError(f"run {self.path} exists; go on with --resume, or choose another name with --run")
        stored, given = flatten(to_mapping(self.read_config())), flatten(to_mapping(config))
        differing = [f"{name} was {stored[name]}, now {given[name]}" for name in given if stored[name] != given[name]]
        if differing:
            text = "; ".join(differing)
            raise RunError(
                f"run {self.path} was started with another config ({text}); "
                "resume with the same settings, or choose another name with --run"
            )
        if config.task.taught and self.taught.is_file() and self.taught.read_bytes() != _taught_bytes(config):
            raise RunError(
                f"run {self.path} was started with other ports than {config.task.taught} holds now; put its own "
                f"({self.taught}) back there, or choose another name with --run"
            )

    def open(self) -> RunFolder:
        """This folder, which must hold a run.

        Raises:
            RunError: where it does not, with the runs that exist.
        """
        if self.config_file.is_file():
            return self
        existing = existing_runs(self.path.parent)
        known = did_you_mean(self.name, existing) if self.name and existing else ""
        listed = f"existing runs: {', '.join(existing)}" if existing else f"{self.path.parent} holds no runs"
        raise RunError(f"there is no run folder {self.path}; {listed}{known if 'did you mean' in known else ''}")

    def read_config(self) -> Config:
        """The config that the run was started with.

        Raises:
            RunError: where it is missing or not valid any more.
        """
        try:
            return load_config([self.open().config_file])
        except ConfigError as error:
            raise RunError(f"the config of run {self.path} cannot be used: {error}") from None

    @contextlib.contextmanager
    def lock(self, role: str = "training") -> Iterator[None]:
        """Hold the folder for one process per role, so that two trainings never share it.

        Raises:
            StorageError: where another process has it.
        """
        taken = f"run {self.path} is in use for {role}; stop that process, or choose another name with --run"
        with locked(make_folder(self.path) / f".{role}.lock", taken):
            yield


def _taught_bytes(config: Config) -> bytes:
    try:
        return Path(config.task.taught).read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {config.task.taught}: {error.strerror} [setting: task.taught]") from None


def existing_runs(root: Path = RUNS) -> list[str]:
    """Names of the runs in a folder."""
    return sorted(path.parent.name for path in root.glob("*/config.yaml"))
