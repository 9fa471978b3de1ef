"""A spool that is filled with small trials, and the files that lie in it."""

from pathlib import Path

from trial_builder import episodes_of, truth_of

from meld_core.storage.spool import Spool

ID = "arm-demo-000007-01234567"


def fill(where: Spool, meta, steps, **changes) -> None:
    for k, rows in enumerate(episodes_of(steps, **changes)):
        where.add_episode(meta, k, rows, truth_of(rows))


def names(folder: Path) -> list[str]:
    """Files of a spool besides its ledger."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "ledger.jsonl")
