"""The table of a study: which rows there are, what each shows, and the settings that each comes to.

A study is a YAML file in `config/studies`; its header says how to read it. Rows come in order of importance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from meld_core.config import Config, ConfigError, did_you_mean, from_mapping, load_config, read_yaml
from meld_core.settings import Section, setting

AGENTS = ("ours", "untrained", "rl2", "search", "oracle")
GROUPS = ("main", "ablation", "sweep")

_SMOKE = ("eval.trials=3",)
"""Settings of the miniature study, on top of config/smoke.yaml and of what all rows share."""

FindFile = Callable[[str, str], Path]
"""(name, folder in config/) → config file."""


class StudyError(ValueError):
    """A study that cannot be run or read as asked; the text is one clear sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row(Section):
    """One row: an agent, how it is trained, and what it is evaluated on."""

    shows: str = setting("", "What the row is there to show.")
    group: str = setting("main", "Table of the report that it stands in.", choices=GROUPS)
    agent: str = setting("ours", "Who acts.", choices=AGENTS)
    seeds: tuple[int, ...] = setting((0, 1, 2), "Seeds of training.", low=0)
    config: str = setting("", "A file of config/ on top of config/meld.yaml.")
    task: str = setting("", "A file of config/tasks; empty: insertion.")
    like: str = setting("", "Settings (`set`) of this row come first.")
    set: tuple[str, ...] = setting((), "Settings of training and evaluation, group.name=value.")
    evaluate: tuple[str, ...] = setting((), "Settings of evaluation alone, group.name=value.")
    every_port: bool = setting(False, "Each task of the evaluation once with each port live.")
    weights_of: str = setting("", "Nothing is trained: the weights are those of this row, seed by seed.")
    trials: float = setting(1.0, "Training trials, as a multiple of what the settings say.", low=0.01, high=100.0)
    cpu_of: str = setting("", "Training ends for good when it has used the CPU time of this row.")
    steps_of: str = setting("", "Training ends for good when it has made the control steps of this row ...")
    times: float = setting(1.0, "... or of `cpu_of`, times this.", low=0.01, high=1000.0)
    cpu_hours: float = setting(2.0, "Training ends for good after this much CPU time in any case.", unit="h", low=0.0)
    against: str = setting("", "Row that this one is compared with.")
    chart: bool = setting(False, "Stands in the chart of learning curves.")
    smoke: bool = setting(False, "Part of the miniature study.")
    smoke_set: tuple[str, ...] = setting((), "Settings of the miniature alone.")

    @property
    def trained(self) -> bool:
        """Whether the row trains weights of its own."""
        return self.agent in ("ours", "rl2") and not self.weights_of

    def needs(self) -> tuple[str, ...]:
        """Rows that have to be finished before, seed by seed."""
        return tuple(dict.fromkeys(name for name in (self.weights_of, self.cpu_of, self.steps_of) if name))


@dataclasses.dataclass(frozen=True)
class Study:
    """A table of rows."""

    name: str
    about: str
    rows: Mapping[str, Row]
    common: tuple[str, ...] = ()
    """Settings of every row."""

    def row(self, name: str) -> Row:
        """The row of this name. Raises StudyError where there is none."""
        if name not in self.rows:
            raise StudyError(f"study '{self.name}' has no row '{name}'{did_you_mean(name, self.rows)}")
        return self.rows[name]

    def selected(self, names: Sequence[str], seeds: Sequence[int] = ()) -> list[tuple[str, int]]:
        """(row, seed) of the rows asked for (all where none are), in the table's order, limited to `seeds`.

        Raises:
            StudyError: on an unknown row, or where nothing is left.
        """
        asked = {name for name in names if self.row(name)} or set(self.rows)
        chosen = [name for name in self.rows if name in asked]
        pairs = [(name, seed) for name in chosen for seed in self.rows[name].seeds if not seeds or seed in seeds]
        if not pairs:
            known = sorted({seed for name in chosen for seed in self.rows[name].seeds})
            raise StudyError(f"none of the rows has one of the seeds {list(seeds)}; they have {known}")
        return pairs

    def miniature(self) -> Study:
        """The rows marked `smoke`, one seed each."""
        rows = {name: dataclasses.replace(row, seeds=row.seeds[:1]) for name, row in self.rows.items() if row.smoke}
        return dataclasses.replace(self, name=f"{self.name}-smoke", rows=rows)


def read_study(path: Path, more: Mapping[str, Row] | None = None) -> Study:
    """Read a study and check that its rows fit together.

    Args:
        path: YAML with `about`, `common` and `rows`.
        more: Rows that are made elsewhere (`sweep`). They cost little, so they come between main rows and ablations.

    Raises:
        StudyError: on an unknown row or a seed that the row which is built upon lacks.
        ConfigError: on an unknown field or a value out of range.
    """
    raw = read_yaml(path)
    if unknown := sorted(set(raw) - {"about", "common", "rows"}):
        raise StudyError(f"{path} has '{unknown[0]}'{did_you_mean(unknown[0], ('about', 'common', 'rows'))}")
    rows: dict[str, Row] = {}
    for name, about in (raw.get("rows") or {}).items():
        rows[str(name)] = _row(path, str(name), about, rows)
    main = {name: row for name, row in rows.items() if row.group == "main"}
    rows = {**main, **(more or {}), **rows}
    study = Study(path.stem, " ".join(str(raw.get("about", "")).split()), rows, _texts(raw))
    for name in study.rows:
        _check(study, name)
    return study


def _texts(raw: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(text) for text in raw.get("common") or ())


def _row(path: Path, name: str, about: Any, above: Mapping[str, Row]) -> Row:
    try:
        row = from_mapping(Row, about or {})
    except (ConfigError, AttributeError) as error:
        raise ConfigError(f"{path}: row '{name}': {error}") from None
    if row.like and row.like not in above:
        raise StudyError(f"row '{name}' is like '{row.like}', which has to stand above it")
    return dataclasses.replace(row, set=(*above[row.like].set, *row.set)) if row.like else row


def _check(study: Study, name: str) -> None:
    row, names = study.rows[name], list(study.rows)
    for other in (*row.needs(), *((row.against,) if row.against else ())):
        base = study.row(other)
        if names.index(other) >= names.index(name):
            raise StudyError(f"row '{name}' builds on '{other}', which has to stand above it")
        if missing := sorted(set(row.seeds) - set(base.seeds)):
            raise StudyError(f"row '{name}' builds on '{other}', which lacks its seeds {missing}")
        if other == row.weights_of and not base.trained:
            raise StudyError(f"row '{name}' takes the weights of '{other}', which trains none")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a row comes to for one seed."""

    training: Config
    evaluation: Config
    """As training, with the row's settings of evaluation; networks are the same."""


def settings_of(study: Study, name: str, seed: int, find: FindFile, *, smoke: bool = False) -> Settings:
    """Resolve a row.

    Args:
        study: Of the row.
        name: The row.
        seed: Of training.
        find: Where config files lie.
        smoke: With config/smoke.yaml on top: everything runs, nothing is learned.

    Raises:
        ConfigError: on whatever does not exist or is not valid.
    """
    row = study.row(name)
    trained = study.row(row.weights_of) if row.weights_of else row
    training = _load(study, trained, seed, find, smoke=smoke)
    if row.weights_of:
        evaluation = _load(study, trained, seed, find, smoke=smoke, also=row)
    else:
        evaluation = _load(study, row, seed, find, smoke=smoke, extra=row.evaluate)
    return Settings(training, dataclasses.replace(evaluation, train=training.train))


def _load(
    study: Study,
    row: Row,
    seed: int,
    find: FindFile,
    *,
    smoke: bool,
    also: Row | None = None,
    extra: Sequence[str] = (),
) -> Config:
    task = (also.task if also else "") or row.task or "insertion"
    files = [find("meld", ""), find("mujoco", "robots"), find(task, "tasks")]
    files += [find(name, "") for name in (row.config, "smoke" if smoke else "") if name]
    overrides = [
        *study.common,
        *(_SMOKE if smoke else ()),
        *row.set,
        *(row.smoke_set if smoke else ()),
        f"train.seed={seed}",
        *extra,
    ]
    if also is not None:
        overrides += [*also.set, *also.evaluate, *(also.smoke_set if smoke else ())]
    config = load_config(files, overrides)
    initial = config.train.demonstrations + config.train.random_trials
    trials = max(initial + 1, round(row.trials * config.train.trials))
    return dataclasses.replace(config, train=dataclasses.replace(config.train, trials=trials))
