"""Writes docs/RELIABILITY.md: what is promised, how it is tested, and the figures of the newest measurement.

meld bench durability --kills 100 --json benchmarks/durability.json
meld bench soak --json benchmarks/soak.json
MELD_FUZZ=150 MELD_FUZZ_JSON=benchmarks/fuzz.json pytest test/core/test_fuzz*.py test/ros/test_fuzz_messages.py
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
OTHERS = {name: ROOT / "benchmarks" / f"{name}.json" for name in ("soak", "fuzz", "safety")}
"""Shown where they were measured."""
PAGE = ROOT / "docs" / "RELIABILITY.md"

PROMISES = (
    (
        "A closed episode is never lost and never counts twice",
        "fsynced into the actor's spool, listed in its ledger, sent until the learner has fsynced the same bytes; "
        "ingest is idempotent by id",
        "`test/core/test_spool_recovery.py` (a crash at every single file operation), `test/faults/test_data.py` "
        "16 and 17",
    ),
    (
        "Lost data would be noticed",
        "the ledger is written by another process than the replay; `meld data verify` compares both, checksums, "
        "dtypes, ranges, order, gaps and duplicates; `--repair` sets aside and deletes nothing",
        "`test/core/test_verify.py`",
    ),
    (
        "`kill -9` of any process at any moment costs no result",
        "trainer, reward, teleop and view node are started again (three times at most); after anything else `--resume` "
        "goes on. What moves an arm is never started again by itself",
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
    (
        "Whatever is read is accepted or refused in a sentence",
        "every parser of files and messages checks types, sizes and ranges; no declared size is allocated; a replay "
        "stores a sound trial or nothing",
        "`test/core/test_fuzz.py`, `test/core/test_fuzz_texts.py`, `test/ros/test_fuzz_messages.py` (hypothesis)",
    ),
    (
        "A link that is cut, loses or delays costs time, never data",
        "what is not acknowledged is sent again; between machines no message is larger than an Ethernet frame; who is "
        "not heard is said (`docs/NETWORK.md`)",
        "fault 18 between two namespaces, and a relay that drops messages, in `test/faults/test_network_faults.py`",
    ),
    (
        "What acts hardly grows: by less than 30 MB in an hour",
        "what a publisher remembers is bounded; the replay grows with every trial",
        "`test/faults/test_soak.py` and `meld bench soak` (20 minutes); `meld bench soak --hours 8` was not run",
    ),
)

PEERS = (
    ("meld_ros", "spool, ledger, acknowledgement; resumes bit for bit in lockstep", "real kills: the figures above"),
    ("SERL, HIL-SERL", "agentlace queues in memory; after an actor restart 1,000 of 4,000 new transitions reached the "
     "learner, without an error", "no test of it"),
    ("LeRobot", "checkpoints of the learner", "2,937 tests with mocks; none kills the learner"),
    ("ros2_control, nav2, MoveIt Servo, UR driver", "promise safe motion, not data", "for motion see their own tests"),
)  # fmt: skip

_BOUND = 30.0
"""Of a node's memory, upper end of the 95 % interval of its slope [MB/h]."""
_GROWS = (
    "That the trainer does not grow besides its trials is not shown: in 20 minutes the upper end of its slope was "
    f"above the bound of {_BOUND:g} MB/h that we set."
)
LIMITS = (
    "Steps of the episode that was open when a process was killed are gone; an abort that the actor survives counts "
    "them (`dropped steps` in `meld data verify` and on `/diagnostics`).",
    "Kills do not cut the power: what a disk's own cache loses after a confirmed fsync was not tested.",
    "The replay keeps every trial: there are no evictions to log, and the disk bounds a run.",
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


def soaked(result: Mapping[str, Any]) -> list[str]:
    """What `meld bench soak` found."""
    nodes = sorted(name.split(".")[1] for name in result if name.endswith(".slope_mb_per_hour"))
    rows = [
        (
            node,
            f"{result[f'soak.{node}.memory_mb']:g}",
            " to ".join(f"{result[f'soak.{node}.slope_{end}_mb_per_hour']:+.1f}" for end in ("low", "high")),
            *(f"{result[f'soak.{node}.{what}_first']}, {result[f'soak.{node}.{what}_last']}"
              for what in ("file_handles", "threads")),
        )
        for node in nodes
    ]  # fmt: skip
    about = (
        f"`{result['soak.command']}`{result.get('soak.beside', '')}: {result['soak.minutes']:g} minutes, "
        "the first quarter as warm-up, "
        f"{result['soak.trials']} trials of {result['soak.steps']} steps; {result['soak.lost']} episodes lost, "
        f"{result['soak.duplicated']} trials doubled. What a trainer keeps per trial, "
        f"{result['soak.replay_kb_per_trial']:g} kB, was measured apart and is not counted. "
        "The form of 8 hours was not run."
    )
    if _grows(result):
        about += " **The trainer grows by more than that, with the number of trials; the cause was not found.**"
    head = ("node", "memory [MB]", "slope, 95 % [MB/h]", "file handles, first and last", "threads, first and last")
    return ["", "### Twenty minutes", "", about, "", table(head, rows)]


def _grows(soak: Mapping[str, Any]) -> bool:
    """Whether the trainer takes more than its trials and the bound explain."""
    return bool(soak["soak.trainer.slope_high_mb_per_hour"] >= _BOUND)


def fuzzed(result: Mapping[str, Any]) -> list[str]:
    """How many bad inputs were tried."""
    names = sorted(name[5:-6] for name in result if name.count(".") == 2 and name.endswith(".tried"))
    rows = [(name, result[f"fuzz.{name}.tried"], result[f"fuzz.{name}.refused"]) for name in names]
    about = (
        f"{result['fuzz.tried']} inputs were tried, nearly all of them bad: bytes flipped, cut off, moved; "
        "whole files with wrong parts; "
        "JSON of other types, ranges and depths. Each was accepted, or refused by an error of ours; none raised "
        "anything else."
    )
    return ["", "### Bad inputs", "", about, "", table(("parser", "tried", "refused"), rows)]


def safe(result: Mapping[str, Any]) -> list[str]:
    """Stop times and the like, as they are in the file."""
    return ["", "### Motion", "", table(("measured", "figure"), sorted(result.items()))]


def page(result: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole document."""
    makers = {"soak": soaked, "fuzz": fuzzed, "safety": safe}
    limits = ([_GROWS] if "soak" in others and _grows(others["soak"]) else []) + list(LIMITS)
    more = [line for name, make in makers.items() if name in others for line in make(others[name])]
    return "\n".join([
        "# Reliability", "",
        "Generated by `python tools/reliability.py` from `benchmarks/`; do not edit.", "",
        "## What is promised, and how it is tested", "",
        table(("promise", "how it is kept", "tested by"), PROMISES), "",
        "`make test-faults` runs the faults with real processes, real DDS and real kills.", "",
        "## Figures", "",
        f"`meld bench durability --kills {result['kills']} --json benchmarks/durability.json`", "",
        figures(result), "",
        "Final weights and trials are compared with a run that nobody disturbed: learning curves of killed and "
        "undisturbed runs are not close to each other but the same. `tools/killed_curve.py` draws it: 24 trials of the "
        "smallest config, over DDS, with six kills of policy, robot, trainer and supervisor:", "",
        "![losses of a run that was killed six times, over those of a run left alone](images/killed_curve.png)",
        *more, "",
        "## Beside what peers promise", "",
        table(("system", "data through a crash", "tested"), PEERS), "",
        "## Limits", "",
        *(f"- {limit}" for limit in limits), "",
    ])  # fmt: skip


def read_figures(path: Path) -> dict[str, Any]:
    """The file's keys without their subject; `killed` and `runs` as mappings."""
    flat = {k.removeprefix("durability."): v for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    result = {name: value for name, value in flat.items() if "." not in name}
    for group in ("killed", "runs"):
        result[group] = {k.partition(".")[2]: v for k, v in flat.items() if k.startswith(f"{group}.")}
    return {k: int(v) if isinstance(v, float) and v.is_integer() and k != "seconds" else v for k, v in result.items()}


def read_others() -> dict[str, dict[str, Any]]:
    """The figures of what else was measured."""
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in OTHERS.items() if path.is_file()}


def main() -> int:
    """Write the page."""
    if not FIGURES.is_file():
        print(f"there is no {FIGURES}; run: meld bench durability --kills 100 --json {FIGURES}", file=sys.stderr)
        return 2
    PAGE.write_text(page(read_figures(FIGURES), read_others()), encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
