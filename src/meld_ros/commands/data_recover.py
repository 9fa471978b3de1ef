"""`meld data recover`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meld_ros.bags.reader import recover

if TYPE_CHECKING:
    from meld_ros.commands.data_arguments import Recover

_SPLIT = 1_000_000_000
"""Size of the new bag's files [bytes]."""


def run(command: Recover) -> int:
    """0 once what can be read is saved."""
    messages, remarks = recover(Path(command.bag), Path(command.out), _SPLIT)
    for sentence in remarks:
        print(sentence, file=sys.stderr)
    print(f"{messages} messages saved in {command.out}")
    return 0
