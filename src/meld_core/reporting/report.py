"""A run's report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from meld_core.evaluation.probes import MOMENTS
from meld_core.evaluation.readaptation import readaptation_lines
from meld_core.reporting.belief_plots import READERS
from meld_core.reporting.plots import AGENTS, MEASURES
from meld_core.step_times import latency_table
from meld_core.storage.files import write_atomic

EMBED_BYTES = 8_000_000
"""A larger video is linked instead of embedded."""

_HEAD = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
_STYLE = """
:root { color-scheme: light } * { box-sizing: border-box }
body { font: 15px/1.55 system-ui, "Segoe UI", sans-serif; max-width: 64rem; margin: 2.5rem auto; padding: 0 1.2rem;
  color: #1d2430; background: #fff }
h1 { font-size: 1.7rem; margin: 0 0 .3rem } h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem }
table { border-collapse: collapse; margin: .8rem 0; width: 100%; font-size: 14px }
th, td { padding: .32rem .7rem .32rem 0; border-bottom: 1px solid #e3e6eb; text-align: left; vertical-align: top }
th { font-weight: 600; color: #566070 } td { font-variant-numeric: tabular-nums }
img, video { max-width: 100%; display: block } video { width: 640px; background: #000; border-radius: 4px }
.wide { overflow-x: auto } .note { color: #5c6675; max-width: 54rem; font-size: 13.5px }
.lead { color: #5c6675; margin-top: 0 } .tiles { display: flex; gap: 1rem; margin: 1.4rem 0; flex-wrap: wrap }
.tile { flex: 1 1 11rem; border: 1px solid #e3e6eb; border-radius: 6px; padding: .8rem 1rem }
.tile b { display: block; font-size: 1.7rem; font-weight: 600; font-variant-numeric: tabular-nums }
.tile span { color: #5c6675; font-size: 13px; display: block }
.badge { background: #fff4d6; border: 1px solid #ecd9a0; border-radius: 4px; padding: 0 .45rem; font-size: 13px }
"""


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a report shows besides the certificate."""

    pictures: Mapping[str, Path]
    """PNG by name: curve, and where they were made probes, strips, reconstructions."""
    video: Path | None = None
    """Film of held-out trials."""
    probes: Mapping[str, Any] | None = None
    """See `belief_study.probes_of`."""
    latency: Mapping[str, Any] | None = None
    """Newest row of kind `latency` of the run's metrics."""


def write_report(path: Path, run: str, certificate: Mapping[str, Any], shown: Shown) -> None:
    """Write the report of a run.

    Args:
        path: HTML file.
        run: Name of the run.
        certificate: Its held-out evaluation.
        shown: Pictures, video and probes.

    Raises:
        StorageError: where the disk refuses.
    """
    where = "simulated" if certificate["simulated"] else "real"
    badge = " <span class=badge>simulation</span>" if certificate["simulated"] else ""
    parts = [
        f"<h1>{_text(run)}{badge}</h1>",
        f"<p class=lead>{_text(certificate['task'])} with a {where} {_text(certificate['robot'])}: "
        f"{certificate['trials']} held-out tasks, judged by the {_text(_judge(certificate))}.</p>",
        *_tiles(certificate),
        "<h2>Held-out tasks</h2>",
        _table(_result_rows(certificate)),
        "<p class=note>Rates with 95 % Wilson intervals. First attempt: the first port entered was the live one "
        f"(chance {certificate['chance_first_attempt']:.2f}); no entry counts as failure. "
        "Belief cleared: the same weights, the belief forgotten between episodes. Untrained: the initial weights.</p>",
        *_comparison(certificate),
        *_readaptation(certificate),
        "<h2>Learning curve, and the held-out tasks beside the controls</h2>",
        _picture(shown.pictures["curve"], "learning curve and held-out rates"),
        *_beliefs(shown),
        *_video(path, shown.video),
        *_latency(shown.latency),
        "<h2>Certificate</h2>",
        _table(_provenance(certificate)),
    ]
    head = f"{_HEAD}<title>{_text(run)}</title><style>{_STYLE}</style><body>"
    write_atomic(path, (head + "\n".join(parts) + "</body></html>\n").encode())


def _tiles(certificate: Mapping[str, Any]) -> Iterator[str]:
    """The figures that matter most, large."""
    yield "<div class=tiles>"
    for episode, numbers in certificate["episodes"].items():
        yield _tile(f"success, episode {episode}", numbers["rate"], numbers["wilson95"])
        yield _tile(
            f"first attempt, episode {episode}", numbers["first_attempt_rate"], numbers["first_attempt_wilson95"]
        )
    yield "</div>"


def _tile(title: str, rate: float | None, interval: Sequence[float] | None) -> str:
    if rate is None or interval is None:
        return ""
    span = f"95 % interval {interval[0]:.2f} to {interval[1]:.2f}"
    return f"<div class=tile><span>{title}</span><b>{rate:.3f}</b><span>{span}</span></div>"


def _picture(path: Path, alt: str) -> str:
    return f'<img alt="{_text(alt)}" src="{_embedded(path, "image/png")}">'


def _beliefs(shown: Shown) -> Iterator[str]:
    """Probe table, heat strips and reconstructions, as far as they were made."""
    if shown.probes is not None:
        yield "<h2>What the belief knows, and when</h2>"
        yield _picture(shown.pictures["probes"], "linear probe of the live port along the trial")
        yield _table(_probe_rows(shown.probes))
        yield (
            "<p class=note>A linear probe names the live port from the filter's state alone; it is fitted and scored "
            f"on different tasks ({shown.probes['folds']} folds). Largest expected reward: nothing is fitted, the "
            "belief's own prediction is asked at each port. Ideal observer: remembers which port was answered by which "
            "reward. An answer is the first row in which the plug is seated in a port. At the end of an episode the "
            "arm often stands in the live port, so that a probe may read its place; at the start of episode 2 it does "
            "not. Reward hidden: the same trials filtered without any reward; that an episode ended early where the "
            "arm was still tells the port of many tasks.</p>"
        )
    if "strips" in shown.pictures:
        yield "<h2>The reward that the belief expects in each port</h2>"
        yield _picture(shown.pictures["strips"], "expected reward of each port, step by step")
        yield (
            "<p class=note>Dark 0, yellow 1. Circle: the plug was seated in this port and rewarded; cross: seated and "
            "not rewarded. White line: the arm was reset; the belief is kept.</p>"
        )
    if "reconstructions" in shown.pictures:
        yield "<h2>What the belief remembers of the views</h2>"
        yield _picture(shown.pictures["reconstructions"], "views and what is decoded from the belief")


def _probe_rows(probes: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    readers = [name for name in READERS if name in probes["readers"]]
    yield ("moment", *[f"probe, {READERS[name]}" for name in readers], "largest expected reward", "ideal observer")
    for moment, title in MOMENTS.items():
        carried = probes["readers"]["carried"].get(moment)
        if carried is None:
            continue
        found = [probes["readers"][name].get(moment) for name in readers]
        cells = ["none" if row is None else _share(row["probe"]) for row in found]
        yield title, *cells, _share(carried["own"]), f"{carried['ideal']:.2f}"


def _share(rate: Mapping[str, Any] | None) -> str:
    return "none" if rate is None else _rate(rate["rate"], rate["wilson95"])


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


def _latency(row: Mapping[str, Any] | None) -> Iterator[str]:
    """Where the time of a step went in training."""
    if row is None:
        return
    late = f"; {row['missed']} were late or passed over" if "missed" in row else ""
    yield "<h2>Time of a step</h2>"
    yield _table(iter([("stage", "p50 [ms]", "p95 [ms]", "p99 [ms]", "max [ms]"), *latency_table(row)]))
    yield (
        f"<p class=note>Over {row['due']} steps of the training, since policy_node was started last{late}. Stages as "
        "in <code>meld_core/step_times.py</code>; in lockstep the gate's holds the simulation of the step.</p>"
    )


def _embedded(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _table(rows: Iterator[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in next(rows))
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<div class=wide><table><tr>{head}</tr>\n{body}</table></div>"


def _rate(rate: float | None, interval: Sequence[float] | None, sign: str = "") -> str:
    if rate is None or interval is None:
        return "unknown"
    return f"{rate:{sign}.3f} [{interval[0]:{sign}.2f}, {interval[1]:{sign}.2f}]"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _text(value: object) -> str:
    return html.escape(str(value))
