"""Re-adaptation: how an agent goes on after the live port has moved between two episodes of a trial, without notice.

A change before episode e is answered within 1 episode where e succeeds, within 2 where e or e + 1 does. An agent that
forgets everything re-adapts well, too, by searching anew each time; that memory was used shows in the first attempts
of the episodes before which nothing moved.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from meld_core.evaluation.scoring import EpisodeScore, rate

Scores = Sequence[Sequence[EpisodeScore]]
"""[trial][episode]; an aborted trial lacks its last episodes."""
_Change = tuple[int, EpisodeScore, "EpisodeScore | None"]
"""Number of the trial, an episode, and the one after it, if there is one."""


def readaptation(scores: Scores, episodes: int, tasks: Sequence[Hashable] | None = None) -> dict[str, Any]:
    """What a certificate says about changes of the live port.

    Args:
        scores: Of all trials.
        episodes: Episodes per trial.
        tasks: Which task each trial was on, where several were on one.

    Returns:
        `changes`: how often the port moved. Rates with their Wilson intervals: `within_1` of all changes; `within_2` of
        those that left two episodes with one and the same live port; `within_2_of_all` also counts the others, which a
        further change or the trial's end cut short, by whichever of the two episodes there were. `episodes`: per
        episode from the second, counted from 1, success and first attempts, where the port had `moved` and where it
        had `stayed`. Changes of one trial are counted one by one; up to four episodes hold one `within_2` at most.
    """
    changes = list(_changes(scores))
    stayed = [change for change in changes if change[2] is not None and not change[2].moved]

    def share(hits: Sequence[bool], of: Sequence[_Change]) -> dict[str, Any]:
        return rate(hits, tasks and [tasks[trial] for trial, _, _ in of])

    return {
        "changes": len(changes),
        "within_1": share([now.success for _, now, _ in changes], changes),
        "within_2": share([_either(now, then) for _, now, then in stayed], stayed),
        "within_2_of_all": share([_either(now, then) for _, now, then in changes], changes),
        "episodes": {str(e + 1): _split(scores, e, tasks) for e in range(1, episodes)},
    }


def _changes(scores: Scores) -> Iterator[_Change]:
    """Each episode before which the port moved."""
    for number, trial in enumerate(scores):
        for now, then in zip(trial, [*trial[1:], None], strict=True):
            if now.moved:
                yield number, now, then


def _either(now: EpisodeScore, then: EpisodeScore | None) -> bool:
    return now.success or (then is not None and then.success)


def _split(scores: Scores, episode: int, tasks: Sequence[Hashable] | None) -> dict[str, dict[str, Any]]:
    """Episodes of one index that took place, by whether the port had moved."""
    there = [(i, trial[episode]) for i, trial in enumerate(scores) if episode < len(trial)]
    found = {}
    for name, moved in (("moved", True), ("stayed", False)):
        part = [(i, score) for i, score in there if score.moved is moved]
        which = tasks and [tasks[i] for i, _ in part]
        found[name] = {"success": rate([s.success for _, s in part], which), **_first([s for _, s in part], which)}
    return found


def _first(part: Sequence[EpisodeScore], tasks: Sequence[Hashable] | None) -> Mapping[str, Any]:
    """Nothing where it is not known which port was entered."""
    known = [s.first_attempt for s in part if s.first_attempt is not None]
    return {"first_attempt": rate(known, tasks)} if len(known) == len(part) else {}


def readaptation_lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What a person reads of `readaptation`: what was counted, its rate with the interval, and of how many."""
    yield _line("success in the very next episode", found["within_1"])
    yield _line("success within 2 episodes", found["within_2"])
    yield _line("the same, changes counted that were cut short", found["within_2_of_all"])
    for episode, parts in found["episodes"].items():
        for name, measures in parts.items():
            for measure, numbers in measures.items():
                yield _line(f"episode {episode}, live port {name}: {measure.replace('_', ' ')}", numbers)


def _line(what: str, numbers: Mapping[str, Any]) -> tuple[str, str, str]:
    if not numbers["trials"]:
        return what, "none", "0"
    low, high = numbers["wilson95"]
    return what, f"{numbers['rate']:.2f} [{low:.2f}, {high:.2f}]", str(numbers["trials"])
