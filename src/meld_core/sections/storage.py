"""Settings of what keeps a run's data and weights trustworthy: room on the disk, and falling back to good weights."""

from __future__ import annotations

import dataclasses

from meld_core.settings import Section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class StorageConfig(Section):
    """Room on the disk."""

    min_free: float = setting(
        256.0, "Collection and training pause while the disk has less than this free.", unit="MB", low=1.0
    )
    reserve: float = setting(
        16.0, "Set aside, so that an episode under way can be stored on a disk that fills up.", unit="MB", low=0.0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RollbackConfig(Section):
    """When the learner goes back to its last good checkpoint."""

    window: int = setting(50, "Policy trials over which success is averaged; 0 never rolls back.", low=0, high=10000)
    drop: float = setting(
        0.4, "Roll back when the average falls this far below its best since the last roll-back.", low=0.05, high=1.0
    )
