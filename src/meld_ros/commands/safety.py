"""`meld bench safety`: stop times per fault, judged by what a driver in another process recorded.

The faults, the driver stand-in and the oracle are those of the tests (`test/faults`, `test/stand_ins`), which share no
code with the stack; so this needs a checkout. Afterwards `docs/SAFETY.md` is written by `tools/safety.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from meld_core.bench.figures import BenchError, Figure, Goal, Setup
from meld_ros.share import share_dir

_MODULE = Path("test") / "faults" / "measure.py"
_QUICK = ("policy_killed", "stop_service")


def measure(setup: Setup) -> Iterator[Figure]:
    """`meld bench safety`: nothing unsafe may happen, and every stop comes in time."""
    root = share_dir()
    if not (root / _MODULE).is_file():
        raise BenchError("meld bench safety needs a source checkout: the driver that it plays against is in test/")
    yield from figures_of(_lines(root, _arguments(setup), setup))


def _arguments(setup: Setup) -> list[str]:
    repetitions = 1 if setup.quick else setup.repetitions
    given = ["--repetitions", str(repetitions), "--soak", str(setup.soak), "--seed", str(setup.seed)]
    return [*given, "--only", *_QUICK] if setup.quick else given


def _lines(root: Path, arguments: list[str], setup: Setup) -> Iterator[dict[str, Any]]:
    """What the measurement prints, as it comes."""
    path = os.pathsep.join([str(root / "src"), str(root), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", ".".join(_MODULE.with_suffix("").parts), *arguments]
    with subprocess.Popen(
        command, cwd=root, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for text in process.stdout:
            line = json.loads(text)
            setup.tell(line.get("fault") or line.get("scenario") or "the soak is over")
            yield line
    if process.returncode != 0:
        raise BenchError("the measurement was broken off; its messages are above")


def figures_of(lines: Iterable[Mapping[str, Any]]) -> Iterator[Figure]:
    """Figures of the lines that `test.faults.measure` prints.

    Lines: `scenario` (name, number, what, promise) is followed by one `fault` for each repetition; those of a soak come
    without a scenario of their own and end with `minutes`.
    """
    scenario: Mapping[str, Any] | None = None
    played: list[Mapping[str, Any]] = []
    soaking: list[Mapping[str, Any]] = []
    repeated: list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]] = []
    for line in lines:
        if "scenario" in line:
            scenario, played = line, []
            repeated.append((scenario, played))
        elif "minutes" in line:
            yield _soak(line, soaking)
        elif scenario is not None and line["fault"] == scenario["scenario"] and "soak" not in line:
            played.append(line)
        else:
            soaking.append(line)
    for about, faults in repeated:
        yield _fault(about, faults)


_SAID = 2000
"""Letters of what a soak objected to that are kept."""


def _fault(about: Mapping[str, Any], played: list[Mapping[str, Any]]) -> Figure:
    """One fault over its repetitions."""
    name = f"safety.{about['scenario']}"
    times = sorted(1000 * time for line in played if (time := _time(line)) is not None)
    limits = [1000 * line["limit"] for line in played if line["limit"] is not None]
    unsafe = sum(line["unsafe"] for line in played)
    objections = [complaint for line in played for complaint in line["complaints"]]
    values: dict[str, float | int | str] = {
        f"{name}.number": about["number"],
        f"{name}.what": about["what"],
        f"{name}.promise": about["promise"],
        f"{name}.repetitions": len(played),
        f"{name}.unsafe_samples": unsafe,
        f"{name}.objections": len(objections),
    }
    if times:
        values |= {f"{name}.stop_ms": _rank(times, 0.5), f"{name}.stop_ms_p99": _rank(times, 0.99)}
        values |= {f"{name}.stop_ms_max": round(times[-1], 1), f"{name}.limit_ms": round(max(limits), 1)}
        values[f"{name}.starved_ms_max"] = round(max(1000 * line["stall"] for line in played), 1)
    goal = Goal(text=about["promise"], met=not objections, promise=True)
    median = _rank(times, 0.5) if times else float(unsafe)
    p99 = _rank(times, 0.99) if times else None
    return Figure(
        what=about["what"], unit="ms" if times else "unsafe samples", median=median, p99=p99, values=values, goal=goal
    )


def _time(line: Mapping[str, Any]) -> float | None:
    """Until the hold reached the driver, or until rest where nobody was left to hold [s]."""
    if line["limit"] is None:
        return None
    time: float | None = line["stop"] if line["stop"] is not None else line["rest"]
    return time


def _rank(times: list[float], share: float) -> float:
    """The smallest of the sorted times that this share of them does not exceed."""
    return round(times[min(len(times) - 1, int(share * len(times)))], 1)


def _soak(end: Mapping[str, Any], played: list[Mapping[str, Any]]) -> Figure:
    """A soak: nothing unsafe may have happened, whatever was played when."""
    unsafe = sum(line["unsafe"] for line in played)
    said = [f"{line['fault']}: {complaint}" for line in played for complaint in line["complaints"]]
    values = {
        "safety.soak.minutes": end["minutes"],
        "safety.soak.faults": sum(line["fault"] != "nothing" for line in played),
        "safety.soak.samples": end["samples"],
        "safety.soak.unsafe_samples": unsafe,
        "safety.soak.objections": len(said),
        "safety.soak.objected": "; ".join(said)[:_SAID],
        "safety.soak.robot_node_mb": round(end["memory"], 1),
    }
    goal = Goal(text="no unsafe sample", met=unsafe == 0, promise=True)
    what = f"{end['minutes']:g} minutes of random faults"
    return Figure(what=what, unit="unsafe samples", median=float(unsafe), values=values, goal=goal)
