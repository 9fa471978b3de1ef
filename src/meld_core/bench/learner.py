"""`meld bench learner`: updates of the published model beside a peer, and of the default model beside the bounds.

With one thread times are those of the processor, which others' work on the machine disturbs least; with more threads,
and on a GPU, they are wall times. What is compared is measured by turns; a ratio is the median of those of the turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from meld_core.ahead import made_ahead
from meld_core.batch import learner_trial, make_batch
from meld_core.belief_cache import BeliefCache
from meld_core.bench.data import Store, demonstrations
from meld_core.bench.figures import BenchError, Figure, Goal, Setup, median_ratio
from meld_core.bench.peer import SOURCE, Peer
from meld_core.config import Config, load_config
from meld_core.latent_contract import ACTIONS
from meld_core.learner import Learner

AT_THE_PEERS_SIZES = (
    "model.kind=slac", "sim.views=[wrist]", "model.views=[wrist]", "model.shrink=1", "slac.base_depth=32",
    "slac.latent1=32", "slac.latent2=256", "task.episodes=1", "task.horizon=8", "task.episode_form=fixed_length",
    "sac.network=plain", "sac.spread=clipped", "sac.hidden=256", "sac.cloning_weight=0", "learner.batch_trials=32",
    "learner.batch_transitions=256", "learner.cache_trials=32", "learner.demonstration_share=0", "learner.relabel=0",
    "learner.corrections=false", "learner.grad_clip=0", "learner.update_every=1",
    "learner.pretrain_model_updates=1", "learner.pretrain_ac_updates=1",
)  # fmt: skip
"""64 x 64 pictures, 9 rows, 32 trials, depth 32, z of 32 and 256; actor-critic batches of 256."""
SUBSET = 0.25
"""Share of the frames that are decoded, where not all are."""
_TOGETHER = 16
"""Updates of each kind per filling of the cache: each transition is drawn 16 times, as by config/paper.yaml."""
_GOALS = {"model_update": 3.0, "model_update_subset": 5.0, "full_update": 10.0, "full_update_subset": 10.0}

Acts = Mapping[str, tuple[Callable[[], object], int]]
"""Name → what is timed, and how many updates it makes."""


def measure(setup: Setup) -> Iterator[Figure]:
    """Bounds, then the published model and the peer by turns, then the default model and its parts."""
    if setup.device == "cuda" and not torch.cuda.is_available():
        raise BenchError("there is no GPU that torch sees; --device cpu measures the processor")
    setup.tell("products and convolutions at their best")
    peaks = _peaks(setup)
    for name, value in peaks.items():
        values = {f"learner.peak.{name}_gflops": round(value, 1)}
        yield Figure(what=f"bound: {name.replace('_', ', ')}", unit="GFLOP/s", median=value, values=values)
    if setup.peer is None:
        setup.tell(f"no peer is measured; get one with: git clone {SOURCE}, and name it by --peer")
    yield from _beside_the_peer(setup, peaks)
    yield from _default(setup, peaks)


def _clock() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def _seconds(act: Callable[[], object]) -> float:
    began = _clock()
    act()
    return _clock() - began


def _by_turns(acts: Acts, rounds: int, tell: Callable[[str], None]) -> dict[str, np.ndarray]:
    """Seconds per update of each, round by round, after one that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in acts}
    for number in range(rounds + 1):
        tell(f"{', '.join(acts)}: round {number} of {rounds}")
        for name, (act, count) in acts.items():
            times[name].append(_seconds(act) / count)
    return {name: np.array(values[1:]) for name, values in times.items()}


def _peaks(setup: Setup) -> dict[str, float]:
    """Best rates [GFLOP/s] of square products and of a 3 x 3 convolution, in fp32 and bf16."""
    gpu, found = setup.device == "cuda", {}
    size, frames = (256, 8) if setup.quick else (8192, 4096) if gpu else (1024, 256)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        like: dict[str, Any] = {"dtype": dtype, "device": setup.device}
        a, b = torch.randn(size, size, **like), torch.randn(size, size, **like)
        found[f"gemm_{name}"] = _best(lambda a=a, b=b: a @ b, 2.0 * size**3)  # type: ignore[misc]
        x = torch.randn(frames, 128, 8, 8, **like).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(256, 128, 3, 3, **like)
        work = 2.0 * frames * 16 * 128 * 256 * 9
        found[f"convolution_{name}"] = _best(lambda x=x, w=weight: F.conv2d(x, w, None, 2, 1), work)  # type: ignore[misc]
    return found


def _best(act: Callable[[], object], operations: float) -> float:
    act()
    return operations / min(_seconds(act) for _ in range(9)) / 1e9


def _learner(settings: tuple[str, ...], trials: int, *more: str) -> Learner:
    """A learner that has trials and has made its first updates."""
    config = load_config(overrides=[*settings, *more])
    learner = Learner(config, Store(demonstrations(config, trials)))
    learner.train_after(config.train.demonstrations)
    return learner


def _rounds(learner: Learner, config: Config) -> Callable[[], object]:
    """Each call is one round of updates, as the learner does them after a trial."""
    index = config.train.demonstrations

    def one() -> object:
        nonlocal index
        index += 1
        return learner.train_after(index)

    return one


def _beside_the_peer(setup: Setup, peaks: Mapping[str, float]) -> Iterator[Figure]:
    """The published model, all frames decoded and a share; with actor and critics, beliefs from the cache."""
    sizes = (
        *AT_THE_PEERS_SIZES,
        f"learner.device={setup.device}",
        *(["slac.base_depth=4"] if setup.quick and not setup.peer else []),
    )
    sizes += (f"learner.model_updates={_TOGETHER}", f"learner.ac_updates={_TOGETHER}")
    acts: dict[str, tuple[Callable[[], object], int]] = {}
    operations: dict[str, float] = {}
    for name, share in (("", 1.0), ("_subset", SUBSET)):
        more = f"loss.image_fraction={share}"
        learner = _learner(sizes, 8, more)
        operations[f"model_update{name}"] = _operations(learner.update_model)
        acts[f"model_update{name}"] = (learner.update_model, 1)
        acts[f"full_update{name}"] = (_rounds(learner, load_config(overrides=[*sizes, more])), _TOGETHER)
    if setup.peer:
        peer = Peer(setup.peer, ACTIONS, setup.device)
        acts |= {"peer_model": (peer.update_model, 1), "peer_actor_critic": (peer.update_actor_critic, 1)}
    times = _by_turns(acts, 1 if setup.quick else 9, setup.tell)
    for name in _GOALS:
        theirs = None
        if setup.peer:
            theirs = times["peer_model"] + (times["peer_actor_critic"] if name.startswith("full") else 0.0)
        yield _beside(name, times[name], theirs, operations.get(name), peaks)
    for name in ("peer_model", "peer_actor_critic") if setup.peer else ():
        yield _rate(name, f"the peer: {name[5:].replace('_', '-')} update", times[name])


def _operations(act: Callable[[], object]) -> float:
    """Operations of products and convolutions, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        act()
    return float(counter.get_total_flops())


def _share(operations: float, seconds: float, peaks: Mapping[str, float]) -> float:
    return operations / seconds / 1e9 / max(peaks.values())


def _rate(name: str, what: str, seconds: np.ndarray) -> Figure:
    rate = 1.0 / float(np.median(seconds))
    return Figure(what=what, unit="updates/s", median=rate, values={f"learner.{name}.updates_per_s": round(rate, 3)})


def _beside(
    name: str,
    ours: np.ndarray,
    theirs: np.ndarray | None,
    operations: float | None,
    peaks: Mapping[str, float],
) -> Figure:
    """One kind of update of the published model, beside the peer's where there is one."""
    words = "model and actor-critic" if name.startswith("full") else "model"
    what = f"published model: {words}, {'a quarter of the' if name.endswith('subset') else 'all'} frames decoded"
    rate, place = 1.0 / float(np.median(ours)), f"learner.{name}"
    values: dict[str, float | int | str] = {f"{place}.updates_per_s": round(rate, 3)}
    ratio = goal = share = None
    if theirs is not None:
        ratio = median_ratio(theirs, ours)
        low, high = np.quantile(theirs / ours, [0.1, 0.9])
        values |= {f"{place}.ratio_to_peer": round(ratio, 2)}
        values |= {f"{place}.ratio_to_peer_low": round(low, 2), f"{place}.ratio_to_peer_high": round(high, 2)}
        goal = Goal(text=f"at least {_GOALS[name]:g} times the peer", met=ratio >= _GOALS[name])
    if operations:
        share = _share(operations, float(np.median(ours)), peaks)
        values |= {f"{place}.gflop": round(operations / 1e9, 2), f"{place}.utilisation": round(share, 3)}
    return Figure(
        what=what, unit="updates/s", median=rate, values=values, ratio_to_peer=ratio, fraction_of_bound=share, goal=goal
    )


def _default(setup: Setup, peaks: Mapping[str, float]) -> Iterator[Figure]:
    """Updates of the default model, and what its time goes into."""
    short = [f"learner.device={setup.device}", "learner.pretrain_model_updates=1", "learner.pretrain_ac_updates=1"]
    config, device = load_config(overrides=short), torch.device(setup.device)
    recorded = demonstrations(config, 4 if setup.quick else config.learner.batch_trials)
    learner, trials = Learner(config, Store(recorded)), [learner_trial(trial, config) for trial in recorded]
    learner.train_after(config.train.demonstrations)  # takes the trials
    latent, batch = learner.networks.model, make_batch(trials, device)
    images, share = batch.inputs.image[batch.inputs.observed > 0.0], config.learner.demonstration_share
    many = [trials[i % len(trials)] for i in range(8 if setup.quick else config.learner.cache_trials)]

    def forward() -> torch.Tensor:
        loss: torch.Tensor = latent.loss(batch, config.loss)[0]
        return loss

    def fill() -> BeliefCache:
        return BeliefCache(latent.filter, many, config.sac, share, device)

    cache = fill()
    operations = {"model_updates": _operations(learner.update_model)}
    operations["ac_updates"] = _operations(lambda: learner.update_actor_critic(cache, 0.5))  # before it is recorded

    def model() -> None:
        for made in made_ahead(learner._draw_batch, 10, device):
            learner.update_model(made)

    def actor_critic() -> None:
        for _ in range(10):
            learner.update_actor_critic(cache, 0.5)

    acts: Acts = {
        "model_updates": (model, 10),
        "ac_updates": (actor_critic, 10),
        "cache": (fill, 1),
        "part_batch": (lambda: make_batch(trials, device), 1),
        "part_loss": (forward, 1),
        "part_loss_and_gradient": (lambda: forward().backward(), 1),
        "part_encoder_and_gradient": (lambda: latent.filter.encoder(images).sum().backward(), 1),
    }
    if setup.device == "cuda":
        acts = {**acts, **_plain(learner, cache, config.learner.batch_transitions)}
    yield from _default_figures(_by_turns(acts, 1 if setup.quick else 9, setup.tell), operations, peaks)


def _plain(learner: Learner, cache: BeliefCache, count: int) -> Acts:
    """What a GPU would do were nothing made ahead and nothing recorded."""

    def actor_critic() -> None:
        for _ in range(10):
            learner._improve(cache.sample(count))

    return {"part_model_update_not_ahead": (learner.update_model, 1), "part_ac_update_not_recorded": (actor_critic, 10)}


def _default_figures(
    times: Mapping[str, np.ndarray], operations: Mapping[str, float], peaks: Mapping[str, float]
) -> Iterator[Figure]:
    for name, work in operations.items():
        seconds = float(np.median(times[name]))
        share, place = _share(work, seconds, peaks), f"learner.default.{name}"
        values = {f"{place}_per_s": round(1.0 / seconds, 2), f"{place}_gflop": round(work / 1e9, 3)}
        values |= {f"{place}_utilisation": round(share, 3)}
        what = f"default: {'model' if name == 'model_updates' else 'actor-critic'} update"
        yield Figure(what=what, unit="updates/s", median=1.0 / seconds, values=values, fraction_of_bound=share)
    for name in [name for name in times if name not in operations]:
        milliseconds = 1e3 * float(np.median(times[name]))
        values = {f"learner.default.{name}_ms": round(milliseconds, 2)}
        yield Figure(what=f"default: {name.replace('_', ' ')}", unit="ms", median=milliseconds, values=values)
