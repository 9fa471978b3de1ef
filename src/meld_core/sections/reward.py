"""Settings of reward detectors."""

from __future__ import annotations

import dataclasses

from meld_core.settings import Section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardConfig(Section):
    """How success is seen."""

    kind: str = setting("led", "Entry of meld_core.rewards.DETECTORS: led, pose, classifier.")
    region: tuple[int, int, int, int] = setting(
        (16, 18, 32, 32), "Region of the detector view: x, y, width, height.", unit="px", low=0
    )
    hsv_lower: tuple[int, int, int] = setting(
        (45, 120, 120), "Lower bound of the lit LED (OpenCV HSV).", low=0, high=255
    )
    hsv_upper: tuple[int, int, int] = setting(
        (80, 255, 255), "Upper bound of the lit LED (OpenCV HSV).", low=0, high=255
    )
    min_pixels: int = setting(6, "Lit pixels in the region that mean success.", unit="px", low=1)
    debounce: int = setting(1, "Frames in a row that must agree, looking back only.", low=1, high=20)
    min_brightness: float = setting(8.0, "A darker view (mean, of 255) cannot be judged.", low=0.0, high=255.0)
    stale_after: float = setting(0.5, "Realtime: an older picture cannot be judged.", unit="s", low=0.02, high=10.0)
    max_height: float = setting(
        0.0, "A success is believed only where the tool is at most this far above the box's face.", unit="m", high=1.0
    )
    weights: str = setting("", "classifier: its file, written by `meld reward train`.")
    threshold: float = setting(
        0.0, "classifier: least probability of a success; 0: the one chosen in training.", low=0.0, high=1.0
    )
    goals: str = setting("", "pose: YAML file of taught goals; empty: the live port of the announced task.")
    goal_tolerance: float = setting(0.008, "pose: distance from a goal that counts.", unit="m", low=0.0005, high=0.2)
    goal_depth: float = setting(
        0.012, "pose: how far below a port's mouth the tip of a seated plug is.", unit="m", low=0.0, high=0.1
    )
    brightness: float = setting(
        0.0, "led: mean brightness (of 255) that region and range were chosen at; 0: not watched.", low=0.0, high=255.0
    )
    drift: float = setting(0.35, "Alarm when the brightness has moved by this share ...", low=0.01, high=10.0)
    drift_frames: int = setting(60, "... on average over this many pictures.", low=5, high=100000)
    training: str = setting("sparse", "Reward that the learner trains on.", choices=("sparse", "shaped"))
