"""Sound rows, lines and settings as our own writers make them, for fuzz tests to damage."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import strategies as st

from meld_core.metrics import METRICS_FILE, MetricsWriter
from meld_core.storage.ledger import LEDGER, Ledger

from .fuzzing import damaged, wrong_json
from .learning import tiny_config
from .trial_builder import episodes_of

CONFIG = tiny_config()
ROWS = episodes_of((3, 2))[0]


@contextlib.contextmanager
def file_of(data: bytes, name: str = "x.safetensors") -> Iterator[Path]:
    """A file in a folder of its own, in which nothing else may be afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path
        assert [entry.name for entry in Path(folder).iterdir()] == [name]


def lines_of(kind: str) -> bytes:
    """A metrics file or a ledger as our own writer makes it."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "ledger":
            ledger = Ledger(Path(folder))
            ledger.stored("arm-demo-000007-01234567", 0, ROWS, {})
            ledger.note("dropped", trial="x", episode=1, steps=3, reason="why")
            return (Path(folder) / LEDGER).read_bytes()
        with MetricsWriter(Path(folder), tensorboard=False) as writer:
            writer.write("trial", trial=1, steps=9, source="policy", success=[True, False], first_attempt=[True, None])
            writer.write("learner", trial=1, replay_ratio=2.0, weights_version=3, **{"actor/loss": 1.0})
            writer.write("status", phase="training", current=1, total=9, note="a word")
        return (Path(folder) / METRICS_FILE).read_bytes()


METRICS, LEDGER_LINES = lines_of("metrics"), lines_of("ledger")


@st.composite
def wrong_lines(draw: st.DrawFn, data: bytes) -> bytes:
    """Lines of which some are wrong, and bytes that are damaged."""
    lines = [draw(wrong_json(line)) if draw(st.booleans()) else line for line in data.decode().splitlines()]
    text = "\n".join(lines).encode(errors="surrogatepass") + b"\n"
    return draw(damaged(text)) if draw(st.booleans()) else text
