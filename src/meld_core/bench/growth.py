"""`meld bench growth`: how an update, a tick and storing grow with batch, length, picture and replay; plots of it."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meld_core.batch import LearnerTrial, learner_trial, make_batch
from meld_core.bench.data import copies, demonstrations
from meld_core.bench.figures import Figure, Setup, timed
from meld_core.bench.tick import Ticker
from meld_core.config import Config, load_config
from meld_core.latent_model import make_latent_model
from meld_core.replay import Replay, encode_trial, steps_of
from meld_core.reporting.growth_plots import Curve, plot_growth
from meld_core.types import Trial

BATCHES = (4, 8, 16, 32)
LENGTHS = (10, 20, 40, 80)
SIZES = (32, 64, 128)
_ROUNDS = 5
_SHOT = 2000
"""Most trials that storing is measured with."""


def measure(setup: Setup) -> Iterator[Figure]:
    """Model updates by batch, sequence and picture; ticks by picture; ingest by trials in the replay."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        curves = list(_curves(setup))
    finally:
        torch.set_num_threads(threads)
    if setup.pictures is not None:
        plot_growth(curves, setup.pictures / "growth.png")
    for curve in curves:
        values = {f"growth.{curve.name}.{x}.ms": round(y, 4) for x, y in zip(curve.x, curve.y, strict=True)}
        values[f"growth.{curve.name}.exponent"] = round(exponent(curve.x, curve.y), 3)
        last = f"{curve.title} at {curve.x[-1]} {curve.unit}"
        yield Figure(what=last, unit="ms", median=curve.y[-1], values=values)


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of log y against log x by least squares: 1 where cost is proportional, 0 where it is flat."""
    return float(np.polyfit(np.log(np.asarray(x, np.float64)), np.log(np.asarray(y, np.float64)), 1)[0])


def _curves(setup: Setup) -> Iterator[Curve]:
    quick, rounds = setup.quick, 1 if setup.quick else _ROUNDS
    config = load_config()
    setup.tell("simulating demonstrations")
    trial = max(demonstrations(config, 2 if quick else 12), key=len)
    batches, lengths, sizes = (v[:2] if quick else v for v in (BATCHES, LENGTHS, SIZES))

    def curve(
        name: str,
        title: str,
        unit: str,
        xs: Sequence[int],
        act: Callable[[int], Callable[[], object]],
        *,
        times: int = 1,
    ) -> Curve:
        ys = []
        for x in xs:
            setup.tell(f"{title}, {x} {unit}")
            ys.append(timed(act(x), times * rounds, warm_up=times).median)
        return Curve(name, title, unit, tuple(xs), tuple(ys))

    yield curve("update_by_batch", "model update", "trials", batches, lambda n: _update(config, trial, n, 40))
    yield curve("update_by_length", "model update", "rows", lengths, lambda n: _update(config, trial, 16, n))
    yield curve(
        "update_by_image", "model update", "px per view", sizes, lambda n: _update(_sized(config, n), trial, 4, 40)
    )
    yield curve("tick_by_image", "tick", "px per view", sizes, lambda n: Ticker(_sized(config, n)), times=50)
    yield _storing(setup, trial)


def _sized(config: Config, size: int) -> Config:
    """Pictures of another size, which the model sees as they are."""
    model = dataclasses.replace(config.model, shrink=1)
    return dataclasses.replace(config, sim=dataclasses.replace(config.sim, image_size=size), model=model)


def _update(config: Config, trial: Trial, count: int, length: int) -> Callable[[], object]:
    """One step on the latent model's loss, with `count` sequences of `length` rows."""
    torch.manual_seed(0)
    model = make_latent_model(config)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    one = _rows(learner_trial(_pictured(trial, config), config), length)
    batch = make_batch([one] * count, torch.device("cpu"))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss, _ = model.loss(batch, config.loss)
        loss.backward()
        optimizer.step()

    return step


def _pictured(trial: Trial, config: Config) -> Trial:
    """The trial with random pictures of the config's size."""
    size = config.sim.image_size
    shape = (len(trial), size * len(config.sim.views), size, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return dataclasses.replace(trial, rows={**trial.rows, "image": pictures})


def _rows(trial: LearnerTrial, length: int) -> LearnerTrial:
    """A trial of so many rows: the first ones, again and again."""
    index = np.arange(length) % len(trial)
    fields = {f.name: getattr(trial, f.name) for f in dataclasses.fields(trial)}
    rows: dict[str, Any] = {name: value[index] for name, value in fields.items() if isinstance(value, np.ndarray)}
    return dataclasses.replace(trial, **rows)


def _storing(setup: Setup, trial: Trial) -> Curve:
    """Storing one more trial, by how many there are: median of a tenth of the trials each."""
    most = 20 if setup.quick else _SHOT
    times = []
    with tempfile.TemporaryDirectory(prefix="meld-bench-") as name:
        replay = Replay(Path(name))
        for number, copied in enumerate(copies([trial], 0, most)):
            if number % (most // 5) == 0:
                setup.tell(f"storing, {number} of {most} trials")
            data = encode_trial(copied)
            began = time.perf_counter()
            replay.ingest(data)
            times.append(1e3 * (time.perf_counter() - began) / steps_of(copied))
    parts = np.array_split(np.array(times), 5)
    xs = np.cumsum([len(part) for part in parts]).tolist()
    return Curve("ingest_by_trials", "storing a step", "trials", tuple(xs), tuple(float(np.median(p)) for p in parts))
