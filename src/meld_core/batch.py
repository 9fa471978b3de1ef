"""What the learner sees of a trial: compact tensors, relabelling to other ports, padded batches of whole trials."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from meld_core.ahead import to_device
from meld_core.config import Config
from meld_core.scripted_search import ScriptedSearch
from meld_core.tasks import Task, seated, shaped_reward
from meld_core.types import Trial
from meld_core.views import view_pixels

_OPEN = 0.2
"""Weight of a query that the rows so far do not answer."""
TOOL = 3
"""Size of the tool position."""


def normalised_tool(tool_position: np.ndarray, config: Config) -> np.ndarray:
    """Tool position (..., 3) [m] → about [-1, 1], float32, relative to the mean workspace."""
    robot = config.robot
    centre, half = _workspace(config.task.box_center, robot.workspace_size, robot.workspace_below)
    return ((tool_position - centre) / half).astype(np.float32)


@functools.cache
def _workspace(
    box: tuple[float, float, float], size: tuple[float, float, float], below: float
) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half of the size (3,) [m]."""
    return np.array([box[0], box[1], box[2] - below + size[2] / 2]), np.array(size) / 2


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the belief filter is given at t: o_t, its reward and a_{t-1}. Leading dims (B, L) or (B,)."""

    image: Tensor
    """(..., h, w, 3) uint8."""
    tool: Tensor
    """(..., 3) normalised."""
    reward: Tensor
    """(...) float, 0 where not valid."""
    reward_valid: Tensor
    """(...) float 0/1."""
    previous_action: Tensor
    """(..., A); zeros at an episode's first row."""
    first_in_episode: Tensor
    """(...) float 0/1."""
    time: Tensor
    """(..., 2): step / T and episode / K."""
    observed: Tensor
    """(...) float 0/1: 0 for a missed tick (the filter predicts) and for padding."""


@dataclasses.dataclass(frozen=True)
class LearnerTrial:
    """One trial as the learner keeps it (numpy, one row per observation)."""

    image: np.ndarray  # (N, h, w, 3) uint8
    tool: np.ndarray  # (N, 3)
    reward: np.ndarray  # (N,) 0 where not valid: what the filter is given
    shaped: np.ndarray  # (N,) added in what critics, and the published model's reward decoder, are taught
    reward_valid: np.ndarray  # (N,)
    valid: np.ndarray  # (N,) the observation itself
    action: np.ndarray  # (N, A)
    intended: np.ndarray  # (N, A)
    cloned: np.ndarray  # (N,) the intended action is to be imitated
    search: np.ndarray  # (N, A) what a demonstrator who still searches would do
    direct: np.ndarray  # (N, P, A) what one who goes to port p would do
    first_in_episode: np.ndarray  # (N,)
    time: np.ndarray  # (N, 2)
    in_port: np.ndarray  # (N, P) bool: the plug is seated in port p
    would_shape: np.ndarray  # (N, P) `shaped` had port p been live; zeros where it is not trained on
    ports: np.ndarray  # (N, P, 3) taught positions of the port mouths, normalised like `tool`
    live: np.ndarray  # (N,) int: live port by hypothesis (hindsight.relabel); -1 in trials as recorded
    ends: bool  # nothing follows the last row (else its value is bootstrapped)
    episodes_end: bool  # the same of the last rows of earlier episodes, where episodes are taken by themselves
    demonstration: bool
    switching: bool = False  # the live port may move between episodes

    def __len__(self) -> int:
        return len(self.tool)

    @property
    def target(self) -> np.ndarray:
        """(N,) the reward that critics, and the published model's reward decoder, are taught."""
        return self.reward + self.shaped

    def episodes(self) -> list[slice]:
        """Row ranges of the episodes, in order."""
        starts = np.flatnonzero(self.first_in_episode).tolist()
        return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(self)], strict=True)]


def learner_trial(trial: Trial, config: Config) -> LearnerTrial:
    """Convert a recorded trial. With `reward.training=shaped` the simulator's shaped reward is added in the targets."""
    rows = trial.rows
    task = Task.from_json(trial.meta.task)
    reward = np.where(rows["reward_valid"], rows["reward"], 0.0).astype(np.float32)
    shaped, would_shape = _shaped(trial, task, config)
    scripted = trial.demonstrated
    limits, by_success = (config.task.horizon, config.task.episodes), config.task.episode_form == "end_on_success"
    seats = [seated(rows["tool_position"], task, p, config.task) for p in range(len(task.ports))]
    in_port = np.stack(seats, axis=-1)
    search, direct = _labels(trial, in_port, task, config)
    return LearnerTrial(
        image=view_pixels(rows["image"], config),
        tool=normalised_tool(rows["tool_position"], config),
        reward=reward,
        shaped=shaped,
        reward_valid=rows["reward_valid"],
        valid=rows["valid"],
        action=rows["action"],
        intended=rows["intended_action"],
        cloned=scripted,
        search=search,
        direct=direct,
        first_in_episode=rows["first_in_episode"],
        time=np.stack([rows["step"] / limits[0], rows["episode"] / limits[1]], axis=-1).astype(np.float32),
        in_port=in_port,
        would_shape=would_shape,
        ports=np.broadcast_to(normalised_tool(np.array(task.ports), config), (len(trial), len(task.ports), TOOL)),
        live=np.full(len(trial), -1),
        ends=bool(rows["terminal"][-1] or (rows["truncated"][-1] and by_success)),
        episodes_end=by_success,
        demonstration=bool(scripted.any()),
        switching=config.task.switch_probability > 0.0,
    )


def _shaped(trial: Trial, task: Task, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """The shaped reward of each row (N,), and what it would be for each port (N, P); zeros where it is not trained on.

    Where success ends the episode it is lowered to [-1, 0], a price of the distance: what is collected near the port
    would end with the success, and waiting beside it would pay more than plugging in.
    """
    rows, ports = trial.rows, range(len(task.ports))
    if config.reward.training == "sparse":
        return np.zeros(len(trial), np.float32), np.zeros((len(trial), len(task.ports)), np.float32)
    would = np.stack([shaped_reward(rows["tool_position"], task, p, config.task) for p in ports], axis=-1)
    both = np.concatenate([trial.truth["shaped"][:, None], would], axis=-1)
    both -= 1.0 if config.task.episode_form == "end_on_success" else 0.0
    both = np.where(rows["first_in_episode"][:, None], 0.0, both).astype(np.float32)
    return both[:, 0], both[:, 1:]


def _labels(trial: Trial, in_port: np.ndarray, task: Task, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """What a demonstrator would have done at each row.

    Returns:
        (N, A) still searching: to the first port that was not tried in this trial, or, where the live port may move
        between episodes, in this episode; (N, P, A) on the way to each port.
    """
    search, tools = ScriptedSearch(task, config), trial.rows["tool_position"]
    direct = np.stack([search.toward(tools, port) for port in range(len(task.ports))], axis=1)
    forgets = trial.rows["first_in_episode" if config.task.switch_probability else "first_in_trial"]
    chosen = []
    for forget, now in zip(forgets.tolist(), in_port, strict=True):
        if forget:
            search.begin_episode()
        chosen.append(search.choose(np.flatnonzero(now).tolist()))
    return direct[np.arange(len(chosen)), chosen], direct


@dataclasses.dataclass(frozen=True)
class Queries:
    """Asked from every row of every port: does it pay, in this task, in this row's episode?"""

    reward: Tensor  # (B, L, P) 0/1
    weight: Tensor  # (B, L, P): 0 where the trial's rewards never tell


@dataclasses.dataclass(frozen=True)
class TrialBatch:
    """Whole trials from `first_in_trial`, padded to the longest."""

    inputs: Inputs  # leading dims (B, L); losses count rows with `observed` 1
    reward: Tensor  # (B, L) the target of the published model's reward decoder
    ports: Tensor  # (B, L, P * 3)
    queries: Queries


def pad(arrays: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Stack (N_i, ...) arrays to (B, length, ...) with zeros behind."""
    out = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
    for i, array in enumerate(arrays):
        out[i, : len(array)] = array
    return out


def previous_actions(trial: LearnerTrial) -> np.ndarray:
    """a_{t-1} per row, (N, A): zero at each episode's first row."""
    shifted = np.zeros_like(trial.action)
    shifted[1:] = trial.action[:-1]
    shifted[trial.first_in_episode] = 0.0
    return shifted


def to_inputs(trials: Sequence[LearnerTrial], device: torch.device) -> Inputs:
    """Filter inputs padded to the longest trial, (B, L, ...)."""
    length = max(len(t) for t in trials)

    def stacked(arrays: Sequence[np.ndarray], dtype: torch.dtype | None = torch.float32) -> Tensor:
        return to_device(torch.from_numpy(pad(arrays, length)), device).to(dtype=dtype)

    return Inputs(
        image=stacked([t.image for t in trials], None),
        tool=stacked([t.tool for t in trials]),
        reward=stacked([t.reward for t in trials]),
        reward_valid=stacked([t.reward_valid for t in trials]),
        previous_action=stacked([previous_actions(t) for t in trials]),
        first_in_episode=stacked([t.first_in_episode for t in trials]),
        time=stacked([t.time for t in trials]),
        observed=stacked([t.valid for t in trials]),
    )


def make_batch(trials: Sequence[LearnerTrial], device: torch.device) -> TrialBatch:
    """Pad trials to a batch."""
    inputs = to_inputs(trials, device)
    length = inputs.tool.shape[1]

    def stacked(arrays: Iterable[np.ndarray]) -> Tensor:
        return to_device(torch.from_numpy(pad(list(arrays), length)), device)

    answers = [port_rewards(t) for t in trials]
    return TrialBatch(
        inputs=inputs,
        reward=stacked(t.target for t in trials),
        ports=stacked(t.ports for t in trials).flatten(2),
        queries=Queries(stacked(reward for reward, _ in answers), stacked(weight for _, weight in answers)),
    )


def port_rewards(trial: LearnerTrial) -> tuple[np.ndarray, np.ndarray]:
    """What the trial's rewards, early and late, tell of each port.

    One port is live at a time. Once it is found, or was made the live one in hindsight, all ports are known; before
    that only those in which the plug was seated unpaid. Where the live port may move, episodes are judged one by one;
    after one in which it was found the odds are told: where it was it probably still is.

    Every port is asked about, visited or not: asked only about those that were visited, the answer would lie in the
    question, as the last port of a search is visited only when it pays.

    What the rows so far tell weighs more than what is still open: there only the odds are to be learned, and from the
    many rows of a search that tell nothing yet the filter learned to remember only slowly.

    Returns:
        (N, P) rewards 0/1 and (N, P) weights: 0 where not known, 1 where told by then, else `_OPEN`; float32.
    """
    reward, weight = np.zeros(trial.in_port.shape, np.float32), np.zeros(trial.in_port.shape, np.float32)
    judged = (trial.reward_valid & ~trial.first_in_episode)[:, None] & trial.in_port
    paid = judged & (trial.reward > 0.5)[:, None]
    open_weight = _OPEN
    for rows in trial.episodes() if trial.switching else [slice(0, len(trial))]:
        unpaid_by_then = np.logical_or.accumulate((judged & ~paid)[rows])
        live = int(trial.live[rows.start])
        if live < 0 and paid[rows].any():
            live = int(paid[rows].any(axis=0).argmax())
        if live < 0:
            weight[rows] = np.where(unpaid_by_then, 1.0, unpaid_by_then[-1] * open_weight)
            continue
        found_by_then = np.logical_or.accumulate(paid[rows].any(axis=1)) | (
            unpaid_by_then.sum(axis=1) == unpaid_by_then.shape[1] - 1
        )
        reward[rows, live] = 1.0
        weight[rows] = np.where(unpaid_by_then | found_by_then[:, None], 1.0, open_weight)
        open_weight = 1.0 if found_by_then.any() else open_weight
    return reward, weight
