"""What flows through the system: frames, robot states, rewards, observations and trials.

Alignment (docs/ARCHITECTURE.md): an episode of T steps has T+1 rows. Row t holds the image, robot state and reward
*on arrival at o_t*, and the executed action a_t that was applied there. At an episode's first row the reward is 0;
at its last row the action is zero and masked. The filter at t is given a_{t-1}; the critic target uses r_{t+1}.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

TRIAL_SCHEMA = 1
"""Version of the trial format on disk and on the wire; a reader refuses any other."""


class Source(enum.IntEnum):
    """Who chose the action of a row."""

    POLICY = 0
    SCRIPT = 1
    HUMAN = 2
    RANDOM = 3


@dataclasses.dataclass(frozen=True)
class Frame:
    """One camera picture."""

    pixels: np.ndarray
    """(H, W, 3) uint8, RGB."""
    stamp: int
    """Capture time [ns]."""
    frame_id: str
    """Name of the camera's optical frame (REP 103)."""


@dataclasses.dataclass(frozen=True)
class RobotState:
    """Measured state of the arm."""

    joints: np.ndarray
    """(J,) float64 [rad], in the order of `Limits.joint_names`."""
    velocities: np.ndarray
    """(J,) float64 [rad/s]."""
    tool_position: np.ndarray
    """(3,) float64 [m], tip of the plug in base_link."""
    tool_orientation: np.ndarray
    """(4,) float64 quaternion x, y, z, w in base_link."""
    stamp: int
    """Measurement time [ns]."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What an arm may do; known before connecting."""

    joint_names: tuple[str, ...]
    joint_lower: np.ndarray
    """(J,) [rad]."""
    joint_upper: np.ndarray
    """(J,) [rad]."""
    joint_velocity: np.ndarray
    """(J,) [rad/s], positive."""
    workspace_lower: np.ndarray
    """(3,) [m], tool position in base_link."""
    workspace_upper: np.ndarray
    """(3,) [m]."""
    step_size: float
    """Tool displacement of an action component of 1 [m per control period]."""
    control_period: float
    """[s]."""


@dataclasses.dataclass(frozen=True)
class Reward:
    """What a reward detector says about one stamp. With `valid` False the other fields mean nothing."""

    reward: float
    success: bool
    probability: float
    valid: bool = True

    @staticmethod
    def missing() -> Reward:
        """No judgement was possible: masked in every loss, never a zero invented."""
        return Reward(reward=float("nan"), success=False, probability=float("nan"), valid=False)


@dataclasses.dataclass(frozen=True)
class Observation:
    """Everything known on arrival at o_t; all parts carry the same stamp in lockstep."""

    image: np.ndarray
    """(H, W, 3) uint8: the policy views, stacked vertically."""
    state: RobotState
    reward: Reward
    stamp: int
    """[ns]."""


@dataclasses.dataclass(frozen=True)
class TrialId:
    """Names one trial for ever: ingest is idempotent by it."""

    robot: str
    run: str
    boot: str
    """UUID (hex) of the actor process that collected it."""
    counter: int
    """Index of the trial within the run: trial n of the schedule."""

    def __str__(self) -> str:
        return f"{self.robot}-{self.run}-{self.counter:06d}-{self.boot[:8]}"


@dataclasses.dataclass(frozen=True)
class TrialMeta:
    """What a trial file says about itself besides its rows. JSON in the file's header."""

    id: TrialId
    task: Mapping[str, Any]
    """`Task.to_json()`: id, split, seed, ports and the live one. Never an input of the agent."""
    weights_version: int
    """Version of the weights that acted; -1 when none did."""
    weights_digest: str = ""
    aborted: str = ""
    """Reason why the trial ended early; closed episodes are kept."""
    simulated: bool = True

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({"schema": TRIAL_SCHEMA, **dataclasses.asdict(self)}, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> TrialMeta:
        """Inverse of `to_json`.

        Raises:
            ValueError: on another schema or a missing field.
        """
        raw = json.loads(text)
        if not isinstance(raw, dict) or raw.pop("schema", None) != TRIAL_SCHEMA:
            raise ValueError(f"trial header is not of schema {TRIAL_SCHEMA}: {text[:80]!r}")
        try:
            return TrialMeta(**{**raw, "id": TrialId(**raw["id"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"trial header lacks or has extra fields: {error}") from None


ROW_FIELDS: dict[str, tuple[str, tuple[int | str, ...]]] = {
    "image": ("uint8", ("H", "W", 3)),
    "joints": ("float32", ("J",)),
    "velocities": ("float32", ("J",)),
    "tool_position": ("float32", (3,)),
    "tool_orientation": ("float32", (4,)),
    "reward": ("float32", ()),
    "reward_valid": ("bool", ()),
    "success": ("bool", ()),
    "probability": ("float32", ()),
    "action": ("float32", ("A",)),
    "intended_action": ("float32", ("A",)),
    "source": ("uint8", ()),
    "valid": ("bool", ()),
    "first_in_trial": ("bool", ()),
    "first_in_episode": ("bool", ()),
    "terminal": ("bool", ()),
    "truncated": ("bool", ()),
    "episode": ("int16", ()),
    "step": ("int16", ()),
    "stamp": ("int64", ()),
}
"""Name → (dtype, shape of one row) of every array in a trial.

action            executed action in [-1, 1]: what is learned from; zero at an episode's last row
intended_action   what the source meant before exploration noise and before the gate (target of cloning)
valid             False for a missed tick: the filter predicts, losses are masked
terminal          nothing follows: the trial ended by success. truncated: the trial ended by its time limit.
reward            on arrival; NaN where reward_valid is False. `truth/*` columns (float32) may follow: `Trial.truth`.
"""


@dataclasses.dataclass(frozen=True)
class Trial:
    """K episodes of one task as rows, in the order in which they happened."""

    meta: TrialMeta
    rows: Mapping[str, np.ndarray]
    """Every name of ROW_FIELDS → (N, ...) array."""
    truth: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """The simulator's knowledge, (N,) float32 each, without the `truth/` prefix. Never a model input."""

    def __len__(self) -> int:
        return len(self.rows["stamp"])

    @property
    def demonstrated(self) -> np.ndarray:
        """(N,) bool: rows whose action a demonstrator chose."""
        return np.isin(self.rows["source"], [int(Source.SCRIPT), int(Source.HUMAN)])

    def __post_init__(self) -> None:
        check_rows(self.rows, self.truth)

    def episodes(self) -> Iterator[slice]:
        """Row ranges of the episodes, in order."""
        starts = np.flatnonzero(self.rows["first_in_episode"]).tolist()
        for start, end in zip(starts, [*starts[1:], len(self)], strict=True):
            yield slice(start, end)


def check_rows(rows: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless the arrays are those of ROW_FIELDS, equally long, of the right dtype and shape."""
    if missing := sorted(set(ROW_FIELDS) - set(rows)):
        raise ValueError(f"trial lacks the rows {missing}")
    if unknown := sorted(set(rows) - set(ROW_FIELDS)):
        raise ValueError(f"trial has unknown rows {unknown}")
    length = len(rows["stamp"])
    if length == 0:
        raise ValueError("trial has no rows")
    for name, (dtype, shape) in ROW_FIELDS.items():
        array = rows[name]
        fits = array.ndim == 1 + len(shape) and all(
            isinstance(want, str) or want == got for want, got in zip(shape, array.shape[1:], strict=True)
        )
        if array.dtype != np.dtype(dtype) or len(array) != length or not fits:
            raise ValueError(f"row '{name}' is {array.dtype}{array.shape}, expected {dtype}({length}, *{shape})")
    for name, array in truth.items():
        if array.dtype != np.float32 or array.shape != (length,):
            raise ValueError(f"row 'truth/{name}' is {array.dtype}{array.shape}, expected float32({length},)")
