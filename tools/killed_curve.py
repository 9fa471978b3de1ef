"""Draws docs/images/killed_curve.png: the curve of a run that was killed again and again, over one left alone.

python tools/killed_curve.py [TRIALS] [KILLS]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt

from meld_core.config import load_config
from meld_core.metrics import read_rows
from meld_core.storage.audit import audit
from meld_core.storage.run_folder import RunFolder
from meld_ros.commands.durability import Child

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "killed_curve.png"
VICTIMS = ("policy", "robot", "supervisor", "trainer")
STYLES = ({"lw": 5, "alpha": 0.35}, {"lw": 1.2, "color": "k"})
DRAWN = ("model/loss", "critic/loss")


def main(trials: int, kills: int) -> int:
    """Train twice, compare bit by bit, draw."""
    overrides = [f"train.trials={trials}", "train.checkpoint_every=3", "storage.min_free=1", "storage.reserve=0"]
    config = load_config([ROOT / "config" / "smoke.yaml"], overrides)
    with tempfile.TemporaryDirectory() as place:
        alone, killed = (RunFolder(Path(place) / name / "run").create(config) for name in ("alone", "killed"))
        began = time.monotonic()
        assert Child("process", config, alone).wait_until(began + 3000) == 0
        done = _kill_and_resume(config, killed, kills)
        same = audit(alone).digests == audit(killed).digests
        _draw({"left alone, in one process": alone, f"over DDS, killed {done} times and resumed": killed})
    print(f"{trials} trials, {done} kills; trials and final weights are the same bit for bit: {same}")
    return 0 if same else 1


def _kill_and_resume(config: object, folder: RunFolder, kills: int) -> int:
    rng, done = random.Random(0), 0
    child = Child("graph", config, folder)
    while (code := child.wait_until(time.monotonic() + (rng.uniform(8.0, 25.0) if done < kills else 3000))) != 0:
        if code is None:
            done += child.kill(rng.choice(VICTIMS))
        if child.wait_until(time.monotonic()) is not None:
            child.wait_for_silence()
            child = Child("graph", config, folder)
    return done


def _draw(runs: dict[str, RunFolder]) -> None:
    figure, axes = plt.subplots(1, len(DRAWN), figsize=(9, 3.2), constrained_layout=True)
    for axis, name in zip(axes, DRAWN, strict=True):
        for (label, folder), style in zip(runs.items(), STYLES, strict=True):
            rows = sorted(read_rows(folder.path, "learner"), key=lambda row: row["trial"])
            axis.plot([row["trial"] for row in rows], [row[name] for row in rows], label=label, **style)
        axis.set(xlabel="trial", title=name)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30, int(sys.argv[2]) if len(sys.argv) > 2 else 6))
