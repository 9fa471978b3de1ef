"""A run's report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from meld_core.files import write_atomic
from meld_core.plots import AGENTS, MEASURES
from meld_core.readaptation import readaptation_lines

EMBED_BYTES = 8_000_000
"""A larger video is linked instead of embedded."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd }
th { text-align: left; font-weight: 600 } td { font-variant-numeric: tabular-nums } img, video { max-width: 100% }
code { overflow-wrap: anywhere } .note { color: #666 }
"""


def write_report(path: Path, run: str, certificate: Mapping[str, Any], picture: Path, video: Path | None) -> None:
    """Write the report of a run.

    Args:
        path: HTML file.
        run: Name of the run.
        certificate: Its held-out evaluation.
        picture: PNG of its learning curve.
        video: Film of held-out trials.

    Raises:
        StorageError: where the disk refuses.
    """
    where = "simulated" if certificate["simulated"] else "real"
    parts = [
        f"<h1>{_text(run)}</h1>",
        f"<p>{_text(certificate['task'])} with a {where} {_text(certificate['robot'])}: {certificate['trials']} "
        f"held-out tasks, judged by the {_text(_judge(certificate))}.</p>",
        "<h2>Held-out tasks</h2>",
        _table(_result_rows(certificate)),
        "<p class=note>Rates with 95 % Wilson intervals. First attempt: the first port entered was the live one "
        f"(chance {certificate['chance_first_attempt']:.2f}); no entry counts as failure. "
        "Belief cleared: the same weights, the belief forgotten between episodes. Untrained: the initial weights.</p>",
        *_comparison(certificate),
        *_readaptation(certificate),
        "<h2>Learning curve</h2>",
        f'<img alt="learning curve" src="{_embedded(picture, "image/png")}">',
        *_video(path, video),
        "<h2>Certificate</h2>",
        _table(_provenance(certificate)),
    ]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(run)}</title><style>{_STYLE}</style><body>"
    write_atomic(path, (page + "\n".join(parts) + "</body></html>\n").encode())


def _judge(certificate: Mapping[str, Any]) -> str:
    return "simulator's truth" if certificate["scored_by"] == "truth" else "reward detector"


def _result_rows(certificate: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    yield ("agent", "belief", "episode", "success", "first attempt", "median steps to success", "seen by detector")
    parts = {"trained": certificate, **certificate["controls"]}
    for name in (name for name in AGENTS if name in parts):
        for episode, numbers in parts[name]["episodes"].items():
            yield (
                AGENTS[name],
                parts[name]["belief"],
                episode,
                _rate(numbers["rate"], numbers["wilson95"]),
                _rate(numbers["first_attempt_rate"], numbers["first_attempt_wilson95"]),
                _number(numbers["median_steps_to_success"]),
                f"{numbers['detected_successes']} (true: {numbers['successes']})",
            )


def _comparison(certificate: Mapping[str, Any]) -> Iterator[str]:
    if not certificate["controls"]:
        return
    yield "<h2>Against the controls, on the same tasks</h2>"
    yield _table(_comparison_rows(certificate))
    yield (
        "<p class=note>Differences of paired rates with Newcombe's 95 % interval (method 10) and McNemar's exact test. "
        "Better: this interval lies above 0 and the two Wilson intervals do not overlap.</p>"
    )


def _readaptation(certificate: Mapping[str, Any]) -> Iterator[str]:
    if "readaptation" not in certificate:
        return
    yield "<h2>After the live port has moved</h2>"
    yield _table(_readaptation_rows(certificate))
    yield (
        "<p class=note>The live port may move between episodes, without notice. Within 2 episodes: of the changes that "
        "left two episodes with one and the same live port. First attempts where the port stayed tell whether memory "
        "was used; where it moved they tell that it was trusted.</p>"
    )


def _readaptation_rows(certificate: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    yield "agent", "what", "rate", "of"
    parts = {"trained": certificate, **certificate["controls"]}
    for name in (name for name in AGENTS if name in parts):
        for line in readaptation_lines(parts[name]["readaptation"]):
            yield AGENTS[name], *line


def _comparison_rows(certificate: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    yield ("trained minus", "episode", "measure", "difference", "p", "better")
    for name, control in certificate["controls"].items():
        for episode, measures in control["paired"].items():
            for measure, pair in measures.items():
                difference = _rate(pair["difference"], pair["interval95"], sign="+")
                yes = "yes" if pair["excludes"] else "no"
                yield AGENTS[name], episode, MEASURES[measure], difference, f"{pair['mcnemar_p']:.2g}", yes


def _provenance(certificate: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    yield ("field", "value")
    weights = certificate["weights"]
    dirty = ", with uncommitted changes" if certificate["git_dirty"] else ""
    yield "weights", f"version {weights['version']}, trained through trial {weights['trained_through_trial']}"
    yield "weights sha256", weights["sha256"]
    yield "reward that was trained on", certificate["reward_training"]
    yield "first learner update at step", _number(certificate["first_learner_update_step"])
    yield "split, first task", f"{certificate['split']}, {certificate['task_seed']}"
    yield "split hash", certificate["split_hash"]
    yield "config sha256", certificate["config_sha256"]
    yield "git commit", f"{certificate['git_commit'] or 'none'}{dirty}"
    yield "command", certificate["command"]
    yield "created", certificate["created"]


def _video(path: Path, video: Path | None) -> Iterator[str]:
    if video is None:
        return
    yield "<h2>Held-out trials, as the policy sees them</h2>"
    kind = "image/gif" if video.suffix == ".gif" else "video/mp4"
    small = video.stat().st_size < EMBED_BYTES
    source = _embedded(video, kind) if small else _text(video.relative_to(path.parent).as_posix())
    yield f'<img alt="film" src="{source}">' if kind == "image/gif" else f'<video controls src="{source}"></video>'


def _embedded(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _table(rows: Iterator[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in next(rows))
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _rate(rate: float | None, interval: Sequence[float] | None, sign: str = "") -> str:
    if rate is None or interval is None:
        return "unknown"
    return f"{rate:{sign}.2f} [{interval[0]:{sign}.2f}, {interval[1]:{sign}.2f}]"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _text(value: object) -> str:
    return html.escape(str(value))
