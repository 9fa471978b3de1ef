"""`meld data verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meld_core.storage.repair import repair
from meld_core.storage.verify import verify

if TYPE_CHECKING:
    from meld_ros.commands.data_arguments import Verify


def run(command: Verify) -> int:
    """0 where everything is sound, else 1."""
    folder = Path(command.folder)
    report, done = repair(folder) if command.repair else (verify(folder), [])
    for sentence in (*done, *report.sentences()):
        print(sentence, file=sys.stderr)
    print(report.summary())
    print("sound" if report.sound else "not sound")
    return 0 if report.sound else 1
