"""What the learner sees of a trial: compact tensors, relabelling to other ports, padded batches of whole trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from meld_core.config import Config
from meld_core.scripted_search import ScriptedSearch
from meld_core.tasks import Task, seated
from meld_core.types import Source, Trial

TOOL = 3
"""Size of the tool position."""


def view_pixels(image: np.ndarray, config: Config) -> np.ndarray:
    """Select the model's views and average blocks of pixels.

    Args:
        image: (..., H, W, 3) uint8, the views of `sim.views` stacked vertically.

    Returns:
        (..., h, w, 3) uint8.

    Raises:
        ValueError: where the image has another size.
    """
    size, views, shrink = config.sim.image_size, config.sim.views, config.model.shrink
    expected = (size * len(views), size, 3)
    if image.shape[-3:] != expected:
        raise ValueError(
            f"policy image is {image.shape[-3:]}, expected {expected} [settings: sim.image_size, sim.views]"
        )
    chosen = [views.index(v) for v in config.model.views]
    image = np.concatenate([image[..., i * size : (i + 1) * size, :, :] for i in chosen], axis=-3)
    if shrink == 1:
        return image
    blocks = image.reshape(*image.shape[:-3], image.shape[-3] // shrink, shrink, size // shrink, shrink, 3)
    total = blocks.sum(axis=(-4, -2), dtype=np.uint32)
    return ((total + shrink * shrink // 2) // (shrink * shrink)).astype(np.uint8)


def model_image_size(config: Config) -> tuple[int, int]:
    """Height and width of `view_pixels`' result.

    Raises:
        ValueError: where model.views is not a subset of sim.views or shrink does not divide the size.
    """
    if missing := set(config.model.views) - set(config.sim.views):
        raise ValueError(f"model.views has {sorted(missing)}, but sim.views offers {list(config.sim.views)}")
    if config.sim.image_size % config.model.shrink:
        raise ValueError(f"model.shrink {config.model.shrink} does not divide sim.image_size {config.sim.image_size}")
    size = config.sim.image_size // config.model.shrink
    return size * len(config.model.views), size


def normalised_tool(tool_position: np.ndarray, config: Config) -> np.ndarray:
    """Tool position (..., 3) [m] → about [-1, 1], float32, relative to the mean workspace."""
    x, y, z = config.task.box_center
    wx, wy, wz = config.robot.workspace_size
    centre = np.array([x, y, z - config.robot.workspace_below + wz / 2])
    scaled = (np.asarray(tool_position, np.float64) - centre) / (np.array([wx, wy, wz]) / 2)
    return scaled.astype(np.float32)


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
    reward: np.ndarray  # (N,) 0 where not valid
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
    ports: np.ndarray  # (N, P, 3) taught positions of the port mouths, normalised like `tool`
    ends: bool  # nothing follows the last row (else its value is bootstrapped)
    demonstration: bool

    def __len__(self) -> int:
        return len(self.tool)


def learner_trial(trial: Trial, config: Config) -> LearnerTrial:
    """Convert a recorded trial. With `reward.training=shaped` the shaped reward of the simulator replaces it."""
    rows = trial.rows
    task = Task.from_json(trial.meta.task)
    reward = np.where(rows["reward_valid"], rows["reward"], 0.0).astype(np.float32)
    if config.reward.training == "shaped":
        reward = reward + trial.truth["shaped"]
    scripted = np.isin(rows["source"], [int(Source.SCRIPT), int(Source.HUMAN)])
    search, direct = _labels(trial, task, config)
    limits = (config.task.horizon, config.task.episodes)
    in_port = [seated(rows["tool_position"], task, p, config.task) for p in range(len(task.ports))]
    return LearnerTrial(
        image=view_pixels(rows["image"], config),
        tool=normalised_tool(rows["tool_position"], config),
        reward=reward,
        reward_valid=rows["reward_valid"],
        valid=rows["valid"],
        action=rows["action"],
        intended=rows["intended_action"],
        cloned=scripted,
        search=search,
        direct=direct,
        first_in_episode=rows["first_in_episode"],
        time=np.stack([rows["step"] / limits[0], rows["episode"] / limits[1]], axis=-1).astype(np.float32),
        in_port=np.stack(in_port, axis=-1),
        ports=np.broadcast_to(normalised_tool(np.array(task.ports), config), (len(trial), len(task.ports), TOOL)),
        ends=bool(rows["terminal"][-1] or (rows["truncated"][-1] and config.task.episode_form == "end_on_success")),
        demonstration=bool(scripted.any()),
    )


def _labels(trial: Trial, task: Task, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """What a demonstrator would have done at each row.

    Returns:
        (N, A) still searching: to the nearest port that was not tried in this trial; (N, P, A) on the way to each port.
    """
    search, tools = ScriptedSearch(task, config), trial.rows["tool_position"]
    search.begin_episode()  # once: what was tried stays tried for the whole trial
    direct = [[search.toward(tool, port) for port in range(len(task.ports))] for tool in tools]
    return np.stack([search.act(tool) for tool in tools]), np.array(direct, np.float32)


def corrected(trial: LearnerTrial) -> LearnerTrial:
    """The demonstrator labels every row of anybody's trial, from what that trial has shown so far.

    DAgger (Ross et al. 2011). It goes to the port in which an earlier episode was rewarded, else it searches: it knows
    where ports are, and which one is live no sooner than the agent could.
    """
    found = _found_before(trial)
    known = found >= 0
    intended = np.where(known[:, None], trial.direct[np.arange(len(trial)), np.where(known, found, 0)], trial.search)
    return dataclasses.replace(trial, intended=intended, cloned=np.ones(len(trial), bool))


def _found_before(trial: LearnerTrial) -> np.ndarray:
    """Per row the port that was rewarded in an earlier episode of the trial, or -1; (N,)."""
    found, port = np.full(len(trial), -1), -1
    starts = np.flatnonzero(trial.first_in_episode).tolist()
    for start, stop in zip(starts, [*starts[1:], len(trial)], strict=True):
        found[start:stop] = port
        rewarded = np.flatnonzero(trial.reward[start:stop] > 0.5)
        if len(rewarded) and trial.in_port[start + rewarded[0]].any():
            port = int(trial.in_port[start + rewarded[0]].argmax())
    return found


def relabel(trial: LearnerTrial, port: int, horizon: int, end_on_success: bool) -> LearnerTrial:
    """What the trial would have been had `port` been the live one, as far as the logged poses tell.

    The sparse reward becomes "seated in `port`". With `end_on_success` each episode is cut at its first hypothetical
    success; where an episode had ended early by the recorded success but not by the hypothetical one, nothing is
    known of what would have followed: the trial ends there and is bootstrapped.
    """
    reward = (trial.in_port[:, port] & ~trial.first_in_episode).astype(np.float32)
    if not end_on_success:
        return dataclasses.replace(trial, reward=reward)
    keep: list[np.ndarray] = []
    ends = trial.ends
    starts = np.flatnonzero(trial.first_in_episode).tolist()
    for start, stop in zip(starts, [*starts[1:], len(trial)], strict=True):
        hits = np.flatnonzero(reward[start:stop])
        last = start + int(hits[0]) + 1 if len(hits) else stop
        keep.append(np.arange(start, last))
        is_last_episode = stop == len(trial)
        if not len(hits) and stop - start <= horizon:
            ends = False
            break
        ends = is_last_episode and (len(hits) > 0 or trial.ends)
    return take_rows(dataclasses.replace(trial, reward=reward, ends=ends), np.concatenate(keep))


def take_rows(trial: LearnerTrial, index: np.ndarray) -> LearnerTrial:
    """A subset of rows, in order."""
    arrays = {f.name: getattr(trial, f.name) for f in dataclasses.fields(trial)}
    return LearnerTrial(**{k: v[index] if isinstance(v, np.ndarray) else v for k, v in arrays.items()})


@dataclasses.dataclass(frozen=True)
class Queries:
    """Instants of the same trial at which the plug was seated somewhere, and the reward there."""

    tool: Tensor  # (B, L, Q, 3)
    reward: Tensor  # (B, L, Q)
    weight: Tensor  # (B,): 0 where the trial has no such instant


@dataclasses.dataclass(frozen=True)
class TrialBatch:
    """Whole trials from `first_in_trial`, padded to the longest."""

    inputs: Inputs  # leading dims (B, L); losses count rows with `observed` 1
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
        return torch.from_numpy(pad(arrays, length)).to(device=device, dtype=dtype)

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


def make_batch(
    trials: Sequence[LearnerTrial], queries: int, rng: np.random.Generator, device: torch.device
) -> TrialBatch:
    """Pad trials to a batch and draw query instants."""
    inputs = to_inputs(trials, device)
    drawn = [_draw_queries(t, inputs.tool.shape[1], queries, rng) for t in trials]
    tools, rewards, weights = (torch.from_numpy(np.stack(a)).to(device) for a in zip(*drawn, strict=True))
    ports = torch.from_numpy(pad([t.ports for t in trials], inputs.tool.shape[1])).flatten(2).to(device)
    return TrialBatch(inputs=inputs, ports=ports, queries=Queries(tools, rewards, weights))


def _draw_queries(
    trial: LearnerTrial, length: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.floating]:
    """(L, Q, 3) positions, (L, Q) rewards, () weight: half rewarded instants, half others, if both exist."""
    candidates = trial.in_port.any(axis=-1) & ~trial.first_in_episode & trial.reward_valid
    positive = np.flatnonzero(candidates & (trial.reward > 0.5))
    negative = np.flatnonzero(candidates & (trial.reward <= 0.5))
    if not len(positive) and not len(negative):
        return np.zeros((length, count, 3), np.float32), np.zeros((length, count), np.float32), np.float32(0.0)
    from_positive = rng.random((length, count)) < 0.5 if len(positive) and len(negative) else len(positive) > 0
    pick = rng.integers(1 << 30, size=(length, count))
    index = np.where(
        from_positive,
        positive[pick % len(positive)] if len(positive) else 0,
        negative[pick % len(negative)] if len(negative) else 0,
    )
    return trial.tool[index], (trial.reward[index] > 0.5).astype(np.float32), np.float32(1.0)
