"""Saves checkpoints of a learner in forked processes that are killed amid it: `python save_and_die.py FOLDER TIMES`.

Prints, per kill, whether a half-written file was left; the newest whole file is loaded after every one.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from core.learning import tiny_config
from core.test_learner import Store

from meld_core.learner import Learner
from meld_core.storage.files import remove_temporary


def main(folder: Path, times: int) -> None:
    """See the module."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    rng, learner = random.Random(0), Learner(tiny_config("model.memory=256", "model.hidden=256"), Store([]))
    began = time.monotonic()
    learner.save(folder / "00000000.safetensors")
    seconds = time.monotonic() - began
    for _ in range(times):
        ear, mouth = os.pipe()
        child = os.fork()
        if child == 0:
            save_for_ever(learner, folder, mouth)
        os.read(ear, 1)
        if signal.sigtimedwait({signal.SIGCHLD}, rng.uniform(0.0, 2.0 * seconds)):
            sys.exit("the child ended by itself")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        signal.sigwait({signal.SIGCHLD})
        os.close(ear)
        os.close(mouth)
        left = remove_temporary(folder)
        newest = sorted(folder.glob("*.safetensors"))[-1]
        learner.load(newest)
        print(f"{'half' if left else 'whole'} {learner.version} {newest.stem}")


def save_for_ever(learner: Learner, folder: Path, mouth: int) -> None:
    """As a trainer does, without the training between. Says when it is about to begin."""
    number = int(sorted(folder.glob("*.safetensors"))[-1].stem)
    while True:
        number += 1
        learner.version = number
        os.write(mouth, b".")
        learner.save(folder / f"{number:08d}.safetensors")
        for old in sorted(folder.glob("*.safetensors"))[:-2]:
            old.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
