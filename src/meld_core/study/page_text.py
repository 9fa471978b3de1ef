"""How a page of results writes tables, rates and differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a Markdown table; short lines are filled up."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for line in lines:
        cells = [*line, *[""] * (len(head) - len(line))]
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
    yield ""


def success(numbers: Mapping[str, Any]) -> str:
    """Rate of success with its Wilson interval, from `scoring.episode_statistics`."""
    return "-" if numbers["rate"] is None else f"{numbers['rate']:.3f} {interval(numbers['wilson95'])}"


def first_attempt(numbers: Mapping[str, Any]) -> str:
    """The same for first attempts; a bench without truth knows none."""
    rate = numbers["first_attempt_rate"]
    return "-" if rate is None else f"{rate:.3f} {interval(numbers['first_attempt_wilson95'])}"


def interval(ends: Sequence[float]) -> str:
    """[low, high]."""
    return f"[{ends[0]:.2f}, {ends[1]:.2f}]"


def signed(part: tuple[float, tuple[float, float]] | None) -> str:
    """A difference with its interval."""
    return "-" if part is None else f"{part[0]:+.3f} [{part[1][0]:+.2f}, {part[1][1]:+.2f}]"


def number(value: float | None, kind: str = "") -> str:
    """A number, '-' for none; of a `kind` that may be absent, 0 is none too and thousands are separated."""
    return "-" if value is None or (kind and not value) else f"{value:,.0f}" if kind else f"{value:g}"
