"""Progress: what is shown follows from the metrics file, half-written lines included."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from meld_core.config import Config, load_config
from meld_core.reporting.progress import Progress, duration, line, table
from meld_core.reporting.run_state import RunState, Snapshot
from meld_core.storage.run_folder import RunFolder

CONFIG = load_config(overrides=["train.trials=100"])


def trial_row(n: int, **changes: Any) -> dict[str, Any]:
    """Trial n of a run: 2 s and 30 steps each; episode 2 succeeds from trial 40 on."""
    row = {"kind": "trial", "time": 1000.0 + 2 * n, "trial": n, "steps": 30 * (n + 1), "source": "policy"}
    outcomes = {"success": [n % 2 == 0, n >= 40], "first_attempt": [False, n >= 50]}
    return {**row, **outcomes, "weights_version": n // 8, "weights_age": n % 8, **changes}


LEARNER = {
    "kind": "learner",
    "trial": 59,
    "model_updates": 900,
    "replay_ratio": 12.5,
    "model/loss": 0.25,
    "critic/loss": None,
}
STATUS = {"kind": "status", "time": 1118.0, "phase": "training", "current": 60, "total": 100}
CANNED = [*(trial_row(n, source="script") for n in range(5)), *(trial_row(n) for n in range(5, 60)), LEARNER, STATUS]


def canned() -> RunState:
    """The state after the canned rows."""
    state = RunState(CONFIG)
    state.update(CANNED)
    return state


def test_snapshot_by_hand() -> None:
    """The last 50 policy trials are 10..59: 25 even, 20 from 40 on, 10 from 50 on."""
    now = canned().snapshot()
    assert (now.trials, now.trials_planned, now.steps, now.window) == (60, 100, 1800, 50)
    assert now.success == (0.5, 0.4)
    assert now.first_attempt == (0.0, 0.2)
    assert now.steps_per_second == pytest.approx(15.0)
    assert now.seconds_left == pytest.approx((99 - 59) * 2.0)
    assert (now.weights_version, now.weights_age, now.replay_ratio) == (7, 3, 12.5)
    assert now.losses == {"model/loss": 0.25}


def test_redone_trial_counts_once() -> None:
    state = canned()
    state.update([trial_row(59, success=[True, True])])
    now = state.snapshot()
    assert (now.trials, now.window) == (60, 50)
    assert now.success == (0.52, 0.4)


def test_rows_from_before_a_pause_do_not_count_for_the_pace() -> None:
    state = RunState(CONFIG, since=5000.0)
    state.update([*CANNED, trial_row(60, time=5001.0), trial_row(68, time=5081.0)])
    assert state.snapshot().steps_per_second == pytest.approx(3.0)
    assert state.snapshot().seconds_left == pytest.approx((99 - 68) * 10.0)


def test_demonstrations_say_nothing_of_the_time_left() -> None:
    """They take 2 s each, the policy's trials, with a round of updates per 8 of them, 10 s."""
    state = RunState(CONFIG)
    state.update([trial_row(n, source="script") for n in range(60)])
    assert state.snapshot().seconds_left is None
    state.update([trial_row(60 + n, time=2000.0 + 10.0 * n) for n in range(8)])
    assert state.snapshot().seconds_left is None
    state.update([trial_row(68, time=2080.0)])
    assert state.snapshot().seconds_left == pytest.approx((99 - 68) * 10.0)


def test_time_left_of_an_evaluation_is_its_own() -> None:
    state = canned()
    rows = [
        {"kind": "status", "time": 2000.0 + n, "phase": "evaluation", "current": 3 * n, "total": 90} for n in range(11)
    ]
    state.update(rows)
    assert state.snapshot().seconds_left == pytest.approx(20.0)


def test_nothing_is_known_at_the_start() -> None:
    now = RunState(CONFIG).snapshot()
    assert (now.phase, now.trials, now.success, now.seconds_left) == ("starting", 0, (None, None), None)
    assert line(now) == (
        "starting  trial 0/100  0 steps (-/s)  ep1 success - first -  ep2 success - first -  weights none  left -"
    )


def rendered(now: Snapshot) -> str:
    """The live table as plain text."""
    console = Console(file=io.StringIO(), width=110)
    console.print(table(now))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_and_line_say_all_that_is_asked_for() -> None:
    now = canned().snapshot()
    shown = rendered(now)
    for text in ("training 60/100", "60 of 100", "1800 (15 per second)", "success 0.40   first attempt 0.20"):
        assert text in shown
    for text in ("model/loss 0.25", "12.5 model updates", "v7 (3 trials behind)", "1 min 20 s"):
        assert text in shown
    assert "ep2 success 0.40 first 0.20" in line(now)


def test_without_a_terminal_plain_lines_follow_the_file(tmp_path: Path) -> None:
    folder, output = RunFolder(tmp_path), io.StringIO()
    text = "".join(json.dumps(row) + "\n" for row in CANNED)
    folder.metrics.write_text(text + '{"kind": "trial", "trial": 60, "st')
    progress, stop = Progress(folder, CONFIG, Console(file=output, force_terminal=False)), threading.Event()
    stop.set()
    progress.run(stop)
    assert output.getvalue().startswith("training 60/100  trial 60/100  1800 steps")
    with folder.metrics.open("a") as file:
        file.write('eps": 1830}\n')
    assert progress.snapshot().trials == 61


def test_on_a_terminal_the_table_is_shown_and_left_behind(tmp_path: Path) -> None:
    folder, output = RunFolder(tmp_path), io.StringIO()
    folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in CANNED))
    stop = threading.Event()
    stop.set()
    Progress(folder, CONFIG, Console(file=output, force_terminal=True, width=110)).run(stop)
    assert "training 60/100" in output.getvalue()


def test_run_in_a_thread_ends_when_told(tmp_path: Path) -> None:
    stop, output = threading.Event(), io.StringIO()
    progress = Progress(RunFolder(tmp_path), Config(), Console(file=output, force_terminal=False))
    thread = threading.Thread(target=progress.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(timeout=10.0)
    assert not thread.is_alive()
    assert output.getvalue().startswith("starting")


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (7.4, "7 s"), (200, "3 min 20 s"), (3720, "1 h 02 min"), (59.9, "1 min 00 s")]
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
