"""Memory that a trainer keeps per trial: `python -m meld_core.bench.replay_cost RUN` prints it [MB].

In a process of its own, which has nothing else to remember.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from meld_core.batch import learner_trial
from meld_core.bench.proc import use_of
from meld_core.replay import Replay
from meld_core.storage.run_folder import RunFolder


def main(folder: RunFolder) -> None:
    """Open a replay as a trainer does, and convert every trial as its learner does."""
    config = folder.read_config()
    before = use_of(os.getpid())
    replay = Replay(folder.replay)
    converted = [learner_trial(trial, config) for trial in replay.trials]
    after = use_of(os.getpid())
    assert before is not None
    assert after is not None
    print((after.memory - before.memory) / max(1, len(converted)))


if __name__ == "__main__":
    main(RunFolder(Path(sys.argv[1])))
