"""The oracle of motion faults itself, on recordings made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from test.faults.oracle import Bounds, Recording, Still, unsafe_samples

BOUNDS = Bounds(3.14, np.array([0.24, -0.10, 0.045]), np.array([0.36, 0.10, 0.095]))
INSIDE = [0.30, 0.0, 0.07]


class Made:
    """A recording at 100 Hz in which only the waist moves."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines, self.now, self.waist = path, [], 0.0, 0.0

    def run(self, seconds: float, speed: float, tip: list[float] | None = None) -> Made:
        for _ in range(round(seconds * 100)):
            self.now += 0.01
            self.waist += 0.01 * speed
            self._add(t=self.now, joints=[self.waist, 0, 0, 0, 0, 0], tip=tip or INSIDE)
        return self

    def command(self, way: float, span: float = 0.25, points: int = 1) -> Made:
        joints = [self.waist, 0, 0, 0, 0, 0]
        self._add(t=self.now, goal=[self.waist + way, 0, 0, 0, 0, 0], points=points, span=span, joints=joints)
        return self

    def _add(self, **line: object) -> None:
        self.lines.append(json.dumps(line))

    def read(self) -> Recording:
        self.path.write_text("\n".join(self.lines) + "\n")
        recording = Recording(self.path)
        recording.refresh()
        return recording


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "recording.jsonl")


def test_a_hold_is_the_first_one_that_nothing_follows(made: Made) -> None:
    made.command(0.07).run(0.2, 0.3).command(0.0, span=0.1).run(0.1, 0.0)  # a hold, but the policy goes on
    made.command(0.07).run(0.2, 0.3).command(0.0, span=0.1).run(0.3, 0.0).command(0.0, span=0.1)
    assert made.read().held_at(0.1) == pytest.approx(0.5)


def test_a_step_that_asks_for_nothing_is_no_hold(made: Made) -> None:
    made.command(0.0, span=0.1).run(0.2, 0.0).command(0.0, span=0.25).run(0.2, 0.0)
    assert made.read().held_at(-1.0) is None


def test_rest_begins_when_no_joint_has_moved_for_a_window(made: Made) -> None:
    recording = made.run(0.5, 0.3).run(0.5, 0.0).read()
    assert recording.rested_at(0.2) == pytest.approx(0.54, abs=0.011)  # 0.3 rad/s for 8 ms of 50 ms is the limit
    assert made.run(0.1, 0.3).read().rested_at(0.2) is None


def test_motion_in_a_span_of_rest_is_counted_sample_by_sample(made: Made) -> None:
    recording = made.run(1.0, 0.0).run(0.2, 0.3).run(1.0, 0.0).read()
    assert unsafe_samples(recording, BOUNDS, [])["moved while it had to rest"] == 0
    count = unsafe_samples(recording, BOUNDS, [Still(0.5, 2.0)])["moved while it had to rest"]
    assert 20 <= count <= 25  # 20 samples of motion and the window after them


def test_a_joint_that_is_too_fast_is_counted(made: Made) -> None:
    assert unsafe_samples(made.run(0.5, 3.1).read(), BOUNDS, [])["too fast"] == 0
    assert unsafe_samples(made.run(0.1, 4.0).read(), BOUNDS, [])["too fast"] >= 5


def test_the_box_counts_for_steps_not_for_the_way_of_a_reset(made: Made) -> None:
    outside = [0.30, 0.0, 0.15]
    made.run(0.2, 0.0, outside).command(0.5, span=1.0, points=20).run(1.0, 0.0, outside)
    assert unsafe_samples(made.read(), BOUNDS, [])["outside the box"] == 0
    made.run(0.6, 0.0).command(0.07).run(0.2, 0.0).run(0.1, 0.0, outside)
    assert unsafe_samples(made.read(), BOUNDS, [])["outside the box"] == 10
