"""Whether an agent acts the same whichever port is live: the sharpest test of what it cannot know.

Who is not shown the reward, nor anything that follows from it, has to act the same to the last bit in tasks that differ
in the live port alone. First attempts at chance (1 in 3) would follow; but of 200 tasks chance leaves an interval of
.27 to .40, in which a small leak could hide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from meld_core.schedule import TrialPlan
from meld_core.types import Trial


def each_port_live(plans: Sequence[TrialPlan], ports: int) -> list[TrialPlan]:
    """Each trial once with each port live, numbered anew; nothing else differs, the seed of the noise neither."""
    crossed = [dataclasses.replace(plan.task, live=port) for plan in plans for port in range(ports)]
    return [dataclasses.replace(plans[index // ports], index=index, task=task) for index, task in enumerate(crossed)]


def same_actions(trials: Sequence[Trial]) -> list[bool]:
    """Task by task, in order of first appearance: whether all of its trials hold the same actions, bit for bit.

    Args:
        trials: Of tasks that `each_port_live` made. One that was tried with a single port says nothing and is left out.
    """
    tasks: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        tasks.setdefault((trial.meta.task["split"], trial.meta.task["seed"]), []).append(trial)
    groups = [group for group in tasks.values() if len({trial.meta.task["live"] for trial in group}) > 1]
    return [all(_same(group[0], other) for other in group[1:]) for group in groups]


def _same(one: Trial, other: Trial) -> bool:
    return all(np.array_equal(one.rows[name], other.rows[name]) for name in ("action", "episode"))
