"""Real processes, real DDS, real kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..ros.conftest import ROOT, domain, ros, run, single_thread, small
from .driver_bench import xs_built, xs_messages

__all__ = ["domain", "ros", "run", "single_thread", "small", "soak", "xs_built", "xs_messages"]
HOURS = float(os.environ.get("MELD_SOAK_HOURS", str(20 / 60)))
_NICE = 10


@pytest.fixture(scope="session", autouse=True)
def soak(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[str], Path] | None]:
    """`meld bench soak`, from the first test on, beside all others and behind them in priority; where it is judged."""
    if not any(item.path.name == "test_soak.py" for item in request.session.items):
        yield None
        return
    folder = tmp_path_factory.mktemp("soak")
    figures = folder / "soak.json"
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "meld_ros.cli", "bench", "soak", "--hours", str(HOURS), "--json", str(figures)],
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            cwd=folder,
            stdout=said,
            stderr=said,
            text=True,
            preexec_fn=lambda: os.nice(_NICE),  # noqa: PLW1509 - no threads yet
        )
    yield process, figures
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # it takes its graph along
    process.wait()
