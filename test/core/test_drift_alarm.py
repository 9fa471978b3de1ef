"""The alarm of reward detectors that see other light, or doubt more, than when they were taught."""

from __future__ import annotations

from typing import Any

import numpy as np

from meld_core.config import RewardConfig
from meld_core.detectors.drift import DriftWatch
from meld_core.rewards import LedDetector
from meld_core.types import Frame


def drift(seen: list[float], probability: list[float], **facts: Any) -> str:
    watch = DriftWatch(RewardConfig(drift=0.3, drift_frames=len(seen)), **facts)
    for b, p in zip(seen, probability, strict=True):
        watch.look(b, p)
    return watch.alarm


def test_the_drift_alarm_tells_light_and_doubt() -> None:
    """30 % of 100 may be missing; three times as many undecided judgements as 10 %, at least 15 %."""
    steady = [0.01] * 5
    assert drift([69.0] * 5, steady, brightness=100.0).startswith("the detector view's brightness is 69, it was 100")
    assert drift([71.0] * 5, steady, brightness=100.0) == ""
    assert drift([60.0] * 5, steady, brightness=100.0, spread=25.0) == ""
    assert drift([10.0] * 5, steady) == ""
    assert drift([100.0] * 5, [0.5] * 2 + [0.0] * 3, unsure=0.1).startswith("40 % of the detector's judgements")
    assert drift([100.0] * 5, [0.5] * 1 + [0.0] * 4, unsure=0.1) == ""


def test_the_drift_alarm_waits_for_a_whole_window_and_ends() -> None:
    detector = LedDetector(RewardConfig(brightness=110.0, drift_frames=5))
    alarms = []
    for background in [40] * 5 + [110] * 5:
        detector({"detector": Frame(np.full((64, 64, 3), background, np.uint8), 1, "")}, None)
        alarms.append(bool(detector.alarm))
    assert alarms == [False] * 4 + [True] * 3 + [False] * 3
