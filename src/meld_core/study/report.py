"""docs/RESULTS.md and docs/results.json of a study, made from what is on disk and from nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from meld_core.evaluation.readaptation import readaptation, readaptation_lines
from meld_core.evaluation.scoring import first_success_statistics
from meld_core.storage.files import make_folder, write_atomic
from meld_core.study.cell import Cell, code_digests
from meld_core.study.goals import goals
from meld_core.study.page_text import first_attempt, number, signed, success, table
from meld_core.study.plots import plot_curves, plot_differences
from meld_core.study.results import (
    CellResult,
    RowResult,
    difference,
    elsewhere,
    episode_of,
    flat_results,
    mean_of,
    read_row,
    widest,
)
from meld_core.study.runner import spent
from meld_core.study.table import GROUPS, Study

RESULTS, FIGURES = "RESULTS.md", "results.json"
_ABLATIONS = "What each departure from the paper is worth"
_SWEEP = "Where it breaks"
_MARK = " †"
_FOOTNOTE = (
    "† Trained on another machine than the row that it is compared with. Training multiplies in bf16 where a processor "
    "is faster in it (docs/PERFORMANCE.md), so that the difference may be one of precision.\n"
)


@dataclasses.dataclass(frozen=True)
class Report:
    """Where a report went, and what it says in one number."""

    page: Path
    rows: list[RowResult]
    cpu_hours: float


def write_results(study: Study, cells: Sequence[Cell], docs: Path, *, command: str, budget: float) -> Report:
    """Score everything anew and write page, figures and pictures.

    Args:
        study: The table.
        cells: All of its cells, run or not.
        docs: Folder of the page.
        command: That makes this page.
        budget: CPU hours that the whole study may take.

    Raises:
        StudyError: where raw trials are not sound.
        StorageError: where the disk refuses.
    """
    rows = [read_row(study, name, [cell for cell in cells if cell.name == name]) for name in study.rows]
    by_name = {row.name: row for row in rows}
    used = spent(cells[0].out)
    make_folder(docs)
    pictures = _pictures(rows, by_name, docs / "images", study.name)
    parts = [*_head(study, rows, command, used, budget), *_goals(by_name)]
    parts += [*_main(study, rows, by_name), *pictures.get("curves", ())]
    parts += [*_compared(_ABLATIONS, "ablation", rows, by_name), *pictures.get("ablation", ())]
    parts += [*_compared(_SWEEP, "sweep", rows, by_name), *pictures.get("sweep", ())]
    parts += [*_seeds(rows), *_cost(rows), *_missing(rows), *_repeat(study, rows)]
    write_atomic(docs / RESULTS, ("\n".join(parts) + "\n").encode())
    figures = {"cpu_hours": used, **flat_results(rows)}
    write_atomic(docs / FIGURES, (json.dumps(figures, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    return Report(docs / RESULTS, rows, used)


def _pictures(
    rows: Sequence[RowResult], by_name: Mapping[str, RowResult], folder: Path, name: str
) -> dict[str, tuple[str, ...]]:
    paths = {"curves": plot_curves(rows, folder / f"study_{name}_curves.png")}
    titles = {"ablation": "difference to the row compared with", "sweep": "difference to the nominal bench"}
    for group, title in titles.items():
        bars = [
            (row.name, _difference(row, by_name, "success"), _difference(row, by_name, "first_attempt"))
            for row in rows
            if row.row.group == group and row.row.against
        ]
        paths[group] = plot_differences(title, bars, folder / f"study_{name}_{group}.png")
    return {key: ("", f"![{key}](images/{path.name})", "") for key, path in paths.items() if path is not None}


def _difference(
    row: RowResult, by_name: Mapping[str, RowResult], measure: str
) -> tuple[float, tuple[float, float]] | None:
    return difference(row, by_name[row.row.against], measure, 1) if row.row.against in by_name else None


def _mark(row: RowResult, by_name: Mapping[str, RowResult]) -> str:
    """A mark where a row and what it is compared with were trained on different machines."""
    base = by_name.get(row.row.against)
    return _MARK if base is not None and elsewhere(row, base) else ""


def _head(study: Study, rows: Sequence[RowResult], command: str, used: float, budget: float) -> Iterator[str]:
    cells = [cell for row in rows for cell in row.cells]
    dates = sorted(str(cell.facts["finished"]) for cell in cells)
    machines = sorted({str(cell.facts["machine"]) for cell in cells})
    total = sum(len(row.row.seeds) for row in rows)
    yield f"# Results: study of the {study.name} task\n"
    yield f"{study.about}\n"
    yield (
        "This page is written by the command below from the raw evaluation trials on disk, each scored anew; nothing "
        "in it is typed by hand. Tasks of the evaluation are held out (box positions in 5 mm cells of which no "
        "training saw one, if their neighbours), the same for every row and seed but in a sweep of where the box "
        "stands; the final weights were fixed before. Rates stand with 95 % Wilson intervals over all seeds. As these "
        "share their tasks, trials count by their effective number: that of the tasks where seeds agree, up to that "
        "of the trials. The spread between trainings is another matter: see the table of seeds. "
        "First attempt: the first port entered was the live one (chance 1 in 3); no entry is a failure.\n"
    )
    yield f"- command: `{command}`"
    yield f"- cells (row and seed) finished: {len(cells)} of {total}"
    yield f"- machine: {'; '.join(machines) or 'none yet'}"
    yield f"- finished between {dates[0]} and {dates[-1]}" if dates else "- nothing is finished yet"
    yield f"- commits: {', '.join(sorted({_commit(cell) for cell in cells})) or 'none'}"
    if changed := _changed_code(cells):
        yield f"- sources that decide results and have changed since some cells ran: {', '.join(changed)}"
    within = "within" if used <= budget else "OVER"
    yield f"- CPU time of all cells: {used:.2f} h, {within} the budget of {budget:g} h\n"


def _commit(cell: CellResult) -> str:
    commit = cell.facts["commit"]
    return f"{str(commit)[:10]}{' with uncommitted changes' if cell.facts['dirty'] else ''}" if commit else "none"


def _changed_code(cells: Sequence[CellResult]) -> list[str]:
    now = code_digests()
    return sorted({name for cell in cells for name in now if cell.facts["code"].get(name, now[name]) != now[name]})


def _goals(by_name: Mapping[str, RowResult]) -> Iterator[str]:
    yield "## Goals\n"
    yield from table(("goal", "wanted", "measured", "reached"), [goal.cells() for goal in goals(by_name)])


def _main(study: Study, rows: Sequence[RowResult], by_name: Mapping[str, RowResult]) -> Iterator[str]:
    yield "## Main rows\n"
    head = ("row", "seeds", "steps", "demos", "success, ep. 1", "success, ep. 2", "first attempt, ep. 1",
            "first attempt, ep. 2", "median steps, ep. 1 / 2", "s to first success", "CPU min of training")  # fmt: skip
    yield from table(head, [_main_line(row) for row in rows if row.row.group == "main" and row.cells])
    yield (
        "Steps are control steps of training, demonstrations included, mean over seeds. Seconds to the first success "
        "are robot time in a trial, resets not counted, median over the tasks that were solved at all.\n"
    )
    for name in study.rows:
        row = by_name[name]
        if row.row.group == "main":
            yield f"- **{name}**: {row.row.shows.strip()}{_against(row, by_name)}"
    yield _FOOTNOTE if any(_mark(row, by_name) for row in rows if row.row.group == "main") else ""
    switched = [row for row in rows if row.cells and row.episodes > 2]
    if switched:
        yield from _switching(switched)


def _main_line(row: RowResult) -> tuple[str, ...]:
    if row.refusal:
        return (row.name, _seed_list(row), f"does not apply: {row.refusal}")
    one, two = row.pooled(0), row.pooled(1)
    period = row.cells[0].cell.settings.evaluation.robot.control_period
    seconds = first_success_statistics(row.scores, period)["median_seconds"]
    return (
        row.name,
        _seed_list(row),
        number(mean_of(row.cells, "steps"), "training"),
        number(mean_of(row.cells, "demonstrations"), "training"),
        success(one),
        success(two),
        first_attempt(one),
        first_attempt(two),
        f"{number(one['median_steps_to_success'])} / {number(two['median_steps_to_success'])}",
        "-" if seconds is None else f"{seconds:.1f}",
        f"{mean_of(row.cells, 'cpu') / 60:.1f}" if row.row.trained else "-",
    )


def _against(row: RowResult, by_name: Mapping[str, RowResult]) -> str:
    if not row.row.against or not row.cells:
        return ""
    parts = [signed(_difference(row, by_name, measure)) for measure in ("success", "first_attempt")]
    if parts == ["-", "-"]:
        return ""
    return (
        f" Against `{row.row.against}`{_mark(row, by_name)}, episode 2: success {parts[0]}, first attempt {parts[1]}."
    )


def _switching(rows: Sequence[RowResult]) -> Iterator[str]:
    yield "### When the live port moves without notice\n"
    yield "Within 2 episodes: of the moves that left two episodes with one and the same live port. First attempts "
    yield "where the port had stayed tell whether memory was used at all; searching anew each time re-adapts, too.\n"
    head = ("what", *(row.name for row in rows))
    columns = [list(readaptation_lines(readaptation(row.scores, row.episodes, row.tasks))) for row in rows]
    lines = [(parts[0][0], *(f"{part[1]} of {part[2]}" for part in parts)) for parts in zip(*columns, strict=False)]
    yield from table(head, lines)


def _compared(title: str, group: str, rows: Sequence[RowResult], by_name: Mapping[str, RowResult]) -> Iterator[str]:
    chosen = [row for row in rows if row.row.group == group]
    if not chosen:
        return
    yield f"## {title}\n"
    if group == "ablation":
        yield "Each row takes one departure back, at fewer trials; the difference is to the row named, on the same "
        yield "tasks and seeds, with its 95 % interval (Newcombe, paired). A gain from taking it back is positive."
        name, apart = widest(chosen)
        if name:
            yield f"Trainings differ, too: seeds of one row lie up to {apart:.2f} apart (`{name}`). A difference below"
            yield "that may be luck, whatever its interval."
        yield ""
    head = ("row", "seeds", "success, ep. 1", "success, ep. 2", "first attempt, ep. 2", "against",
            "success, ep. 2, diff.", "first attempt, ep. 2, diff.", "what it shows")  # fmt: skip
    yield from table(head, [_compared_line(row, by_name) for row in chosen if row.cells])
    if any(_mark(row, by_name) for row in chosen):
        yield _FOOTNOTE


def _compared_line(row: RowResult, by_name: Mapping[str, RowResult]) -> tuple[str, ...]:
    if row.refusal:
        return (row.name, _seed_list(row), f"does not apply: {row.refusal}", "-", "-", "-", "-", "-", row.row.shows)
    one, two = row.pooled(0), row.pooled(1)
    differences = [signed(_difference(row, by_name, measure)) for measure in ("success", "first_attempt")]
    against = (row.row.against or "-") + _mark(row, by_name)
    return (row.name, _seed_list(row), success(one), success(two), first_attempt(two), against, *differences,
            row.row.shows)  # fmt: skip


def _seeds(rows: Sequence[RowResult]) -> Iterator[str]:
    yield "## Every seed\n"
    head = ("row", "seed", "trials", "success, ep. 1", "success, ep. 2", "first attempt, ep. 1", "first attempt, ep. 2",
            "median steps, ep. 1 / 2")  # fmt: skip
    cells = [cell for row in rows for cell in row.cells if cell.scores]
    yield from table(head, [_seed_line(cell) for cell in cells])


def _seed_line(cell: CellResult) -> tuple[str, ...]:
    one, two = episode_of([cell], 0), episode_of([cell], 1)
    steps = f"{number(one['median_steps_to_success'])} / {number(two['median_steps_to_success'])}"
    return (cell.cell.name, str(cell.cell.seed), str(len(cell.scores)), success(one), success(two), first_attempt(one),
            first_attempt(two), steps)  # fmt: skip


def _cost(rows: Sequence[RowResult]) -> Iterator[str]:
    yield "## What each cell cost\n"
    head = ("row", "seed", "trials", "steps", "demos", "training ended by", "training CPU min", "training wall min",
            "CPU min in all", "commit", "finished")  # fmt: skip
    lines = []
    for cell in (cell for row in rows for cell in row.cells):
        trained = cell.cell.row.trained
        numbers = (cell.trials, cell.steps, cell.demonstrations) if trained else ("-", "-", "-")
        times = (f"{cell.cpu / 60:.1f}", f"{cell.wall / 60:.1f}") if trained else ("-", "-")
        lines.append((cell.cell.name, str(cell.cell.seed), *map(str, numbers), cell.facts["ended_by"] or "-", *times,
                      f"{cell.cpu_all / 60:.1f}", _commit(cell), str(cell.facts["finished"])))  # fmt: skip
    yield from table(head, lines)
    yield "One thread per cell. Wall time is that of the hours in which it ran, beside whatever else ran.\n"


def _missing(rows: Sequence[RowResult]) -> Iterator[str]:
    lines = [(row.name, str(seed), why) for row in rows for seed, why in sorted(row.missing.items())]
    if lines:
        yield "## Not run\n"
        yield from table(("row", "seed", "why"), lines)


def _repeat(study: Study, rows: Sequence[RowResult]) -> Iterator[str]:
    name = study.name.removesuffix("-smoke")
    yield "## Running it again\n"
    yield f"One row: `meld study {name} --rows NAME`; this page alone, from what is on disk: `--report`. What every row"
    yield f"changes stands in `config/studies/{name}.yaml`, every figure of this page in `results.json`."
    groups = {group: sum(len(row.row.seeds) for row in rows if row.row.group == group) for group in GROUPS}
    yield f"Cells: {', '.join(f'{count} {group}' for group, count in groups.items())}."


def _seed_list(row: RowResult) -> str:
    return ", ".join(str(cell.cell.seed) for cell in row.cells)
