"""Writes docs/RELIABILITY.md: what is promised, how it is tested, and the figures of the newest measurement.

meld bench durability --kills 100 --json benchmarks/durability.json
python tools/reliability.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "benchmarks" / "durability.json"
PAGE = ROOT / "docs" / "RELIABILITY.md"

PROMISES = (
    (
        "A closed episode is never lost and never counts twice",
        "fsynced into the actor's spool, listed in its ledger, sent until the learner has fsynced the same bytes; "
        "ingest is idempotent by id",
        "`test/core/test_spool.py` (a crash at every single file operation), `test/faults/test_data.py` 16 and 17",
    ),
    (
        "Lost data would be noticed",
        "the ledger is written by another process than the replay; `meld data verify` compares both, checksums, "
        "dtypes, ranges, order, gaps and duplicates; `--repair` sets aside and deletes nothing",
        "`test/core/test_verify.py`",
    ),
    (
        "`kill -9` of any process at any moment costs no result",
        "trainer and reward node are started again (three times at most); after anything else `--resume` goes on. What "
        "moves an arm is never started again by itself",
        "`meld bench durability`; five kills of it in `test/faults/test_data.py`",
    ),
    (
        "Resuming changes nothing, bit for bit (simulation, lockstep)",
        "networks, optimisers, targets, temperature, random states and counters are in the checkpoint, everything else "
        "is a function of the trials; the repetition of an aborted trial is learned from once",
        "`test/core/test_trainer.py`, `test/core/test_train.py`, final weights compared in `meld bench durability`",
    ),
    (
        "A half-written file is never read",
        "written beside, fsynced, renamed; every byte under a sha256",
        "fault 15: 100 kills while a checkpoint is saved",
    ),
    (
        "Bad weights never act",
        "digest, run, config, version, architecture, finite, and a rehearsal on fixed observations, at the trainer and "
        "again at the policy",
        "`test/core/test_weights_gate.py`, fault 19 over DDS",
    ),
    (
        "A learner that has gone wrong is put back",
        "gradients that are not finite are left out; after divergence, or when success over the last trials falls "
        "(`rollback.*`), the last good checkpoint comes back under a new version, and it is said",
        "`test/core/test_trainer.py`, fault 20 with a poisoned trainer",
    ),
    (
        "A full disk pauses a run before anything is lost",
        "room is asked for before each episode and round (`storage.min_free`), and kept for the episode under way "
        "(`storage.reserve`)",
        "`test/core/test_disk_room.py`, fault 21 on a tmpfs (where mounting is not permitted: by demanding more room)",
    ),
    (
        "A success from an impossible pose is not believed",
        "masked, not turned into a zero, and written into the ledger for a person (`reward.max_height`)",
        "fault 14 with a detector that sees success everywhere",
    ),
    (
        "Nothing that is read can be run",
        "safetensors, JSON and safe YAML only",
        "`test/core/test_nothing_runs.py` scans every source and feeds every reader what would run",
    ),
)

PEERS = (
    ("meld_ros", "spool, ledger, acknowledgement; resumes bit for bit in lockstep", "real kills: the figures above"),
    ("SERL, HIL-SERL", "agentlace queues in memory; after an actor restart 1,000 of 4,000 new transitions reached the "
     "learner, without an error", "no test of it"),
    ("LeRobot", "checkpoints of the learner", "2,937 tests with mocks; none kills the learner"),
    ("ros2_control, nav2, MoveIt Servo, UR driver", "promise safe motion, not data", "for motion see their own tests"),
)  # fmt: skip

LIMITS = (
    "Steps of the episode that was open when a process was killed are gone; an abort that the actor survives counts "
    "them (`dropped steps` in `meld data verify` and on `/diagnostics`).",
    "Kills do not cut the power: what a disk's own cache loses after a confirmed fsync was not tested.",
    "The replay keeps every trial, in memory and on disk: there are no evictions to log, and memory bounds a run.",
    "In realtime (a real arm) an aborted trial and its repetition are different experience, and both are learned from: "
    "there resuming loses nothing but is not bit-identical.",
    "Starting nodes again is done by `meld train` and `meld launch`; under `ros2 launch` the death of a node ends the "
    "launch, and the same command goes on.",
    "On a GPU sums may differ from run to run; bit-identity was measured on CPUs.",
)


def table(head: tuple[str, ...], rows: Any) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def figures(result: Mapping[str, Any]) -> str:
    """The measurement in a table and a sentence."""
    killed = ", ".join(f"{name} {times}" for name, times in result["killed"].items())
    runs = ", ".join(f"{times} {'in one process' if name == 'process' else 'over DDS'}"
                     for name, times in result["runs"].items())  # fmt: skip
    rows = (
        ("kills (SIGKILL at random moments)", f"{result['kills']} ({killed})"),
        ("runs, each resumed until finished", runs),
        ("transitions that the ledgers list", result["transitions"]),
        ("lost", result["lost"]),
        ("duplicated", result["duplicated"]),
        ("runs that differ from the undisturbed one in any bit of trials or weights", result["corrupt_loaded"]),
        ("files under their final names that could not be read", result["damaged_files"]),
        ("files that a kill caught half-written", result["caught_half_written"]),
    )
    machine = f"Seed {result['seed']}, {result['seconds']:.0f} s on {result['machine']}."
    return f"{table(('measured', 'figure'), rows)}\n\n{machine}"


def page(result: Mapping[str, Any]) -> str:
    """The whole document."""
    return "\n".join([
        "# Reliability", "",
        "Generated by `python tools/reliability.py` from `benchmarks/durability.json`; do not edit.", "",
        "## What is promised, and how it is tested", "",
        table(("promise", "how it is kept", "tested by"), PROMISES), "",
        "`make test-faults` runs the faults with real processes, real DDS and real kills.", "",
        "## Figures", "",
        f"`meld bench durability --kills {result['kills']} --json benchmarks/durability.json`", "",
        figures(result), "",
        "Final weights and trials are compared with a run that nobody disturbed: learning curves of killed and "
        "undisturbed runs are not close to each other but the same.", "",
        "## Beside what peers promise", "",
        table(("system", "data through a crash", "tested"), PEERS), "",
        "## Limits", "",
        *(f"- {limit}" for limit in LIMITS), "",
    ])  # fmt: skip


def read_figures(path: Path) -> dict[str, Any]:
    """The file's keys without their subject; `killed` and `runs` as mappings."""
    flat = {k.removeprefix("durability."): v for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    result = {name: value for name, value in flat.items() if "." not in name}
    for group in ("killed", "runs"):
        result[group] = {k.partition(".")[2]: v for k, v in flat.items() if k.startswith(f"{group}.")}
    return {k: int(v) if isinstance(v, float) and v.is_integer() and k != "seconds" else v for k, v in result.items()}


def main() -> int:
    """Write the page."""
    if not FIGURES.is_file():
        print(f"there is no {FIGURES}; run: meld bench durability --kills 100 --json {FIGURES}", file=sys.stderr)
        return 2
    PAGE.write_text(page(read_figures(FIGURES)), encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
