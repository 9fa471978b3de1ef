"""Films of trials: what the policy saw, and what is known about it, as MP4 or (without ffmpeg) GIF."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from meld_core.config import Config
from meld_core.evaluation.scoring import live_in_episode, ports_entered
from meld_core.reporting.belief_strip import draw_strip
from meld_core.types import Trial

VIEW_SIZE = 256
"""Height and width of one view in the film [px]."""
TEXT_HEIGHT = 64
RATE = 8
"""Frames per second: one step each, twice as fast as the arm at its default control period."""
PAUSE = 8
"""Times that an episode's last frame is shown."""

_BLOCK = 16
"""Encoders want frames of whole blocks."""
_WHITE, _GREY, _GREEN, _RED = (240, 240, 240), (150, 150, 150), (70, 200, 90), (220, 80, 70)


def write_video(
    trials: Sequence[Trial], stem: Path, config: Config, expected: Sequence[np.ndarray | None] = ()
) -> Path:
    """Film trials one after the other.

    Args:
        trials: Trials with policy images.
        stem: Path without suffix; .mp4 is added where `imageio_ffmpeg` is installed, else .gif.
        config: Names the views.
        expected: Per trial the reward that its beliefs expect in each port, (N, P), for a strip below the views.

    Returns:
        Path of the film.

    Raises:
        ValueError: where there is nothing to film.
    """
    if not trials:
        raise ValueError("there are no trials to film; set eval.video_trials to 1 or more")
    stem.parent.mkdir(parents=True, exist_ok=True)
    titles = [f"task {i} of {len(trials)}" for i in range(1, len(trials) + 1)]
    strips = expected or [None] * len(trials)
    parts = zip(trials, titles, strips, strict=True)
    frames = (frame for trial, title, strip in parts for frame in film(trial, title, config, strip))
    if importlib.util.find_spec("imageio_ffmpeg") is not None:
        return _write(frames, stem.with_suffix(".mp4"), _write_mp4)
    return _write(frames, stem.with_suffix(".gif"), _write_gif)


def _write(frames: Iterator[np.ndarray], path: Path, encode: Callable[[Iterator[np.ndarray], Path], None]) -> Path:
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        encode(frames, temporary)
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    return path


def _write_mp4(frames: Iterator[np.ndarray], path: Path) -> None:
    import imageio_ffmpeg

    first = next(frames)
    size = (first.shape[1], first.shape[0])
    writer = imageio_ffmpeg.write_frames(str(path), size, fps=RATE, quality=7, macro_block_size=_BLOCK)
    writer.send(None)
    try:
        writer.send(np.ascontiguousarray(first))
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
    finally:
        writer.close()


def _write_gif(frames: Iterator[np.ndarray], path: Path) -> None:
    pictures = [Image.fromarray(frame).convert("P", palette=Image.Palette.ADAPTIVE, colors=64) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=1000 // RATE, loop=0)


def film(trial: Trial, title: str, config: Config, expected: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Frames of a trial, (H, W, 3) uint8, one per row and a pause after each episode."""
    for rows in trial.episodes():
        for row in range(rows.start, rows.stop):
            frame = _frame(trial, slice(rows.start, row + 1), row == rows.stop - 1, title, config)
            if expected is not None:
                longest = len(trial) + config.task.episodes
                past = expected[: row + 1], trial.rows["first_in_episode"][: row + 1]
                frame = np.concatenate([frame, draw_strip(*past, longest, frame.shape[1])])
            yield from [frame] * (PAUSE if row == rows.stop - 1 else 1)


def _frame(trial: Trial, past: slice, last: bool, title: str, config: Config) -> np.ndarray:
    """The picture of row `past.stop - 1`, with what happened in the episode until then."""
    views = _enlarge(trial.rows["image"][past.stop - 1], len(config.sim.views))
    canvas = Image.new("RGB", (views.shape[1], views.shape[0] + TEXT_HEIGHT))
    canvas.paste(Image.fromarray(views), (0, 0))
    draw = ImageDraw.Draw(canvas)
    success = _succeeded(trial, past)
    for line, (text, color) in enumerate(_captions(trial, past, last, success, title)):
        draw.text((8, views.shape[0] + 4 + 19 * line), text, fill=color, font=ImageFont.load_default(14))
    if last:
        draw.rectangle((0, 0, canvas.width - 1, views.shape[0] - 1), outline=_GREEN if success else _RED, width=5)
    return np.asarray(canvas)


def _enlarge(image: np.ndarray, views: int) -> np.ndarray:
    """Stacked views (V*h, w, 3) → side by side, each enlarged to VIEW_SIZE by repeating pixels."""
    size, method = (VIEW_SIZE, VIEW_SIZE), Image.Resampling.NEAREST
    parts = [np.asarray(Image.fromarray(part).resize(size, method)) for part in np.split(image, views)]
    return np.concatenate(parts, axis=1)


def _succeeded(trial: Trial, past: slice) -> bool:
    judged = trial.truth["success"] > 0.5 if "success" in trial.truth else trial.rows["success"]
    return bool(judged[past].any())


def _captions(
    trial: Trial, past: slice, last: bool, success: bool, title: str
) -> Iterator[tuple[str, tuple[int, int, int]]]:
    row = past.stop - 1
    episode, step, reward = (trial.rows[name][row] for name in ("episode", "step", "reward"))
    where = "simulation    " if trial.meta.simulated else ""
    yield f"{where}{title}    episode {episode + 1}    step {step}    reward {reward:.0f}", _WHITE
    tried = ", ".join(str(port + 1) for port in ports_entered(trial, past)) or "none yet"
    yield f"ports tried: {tried}    live port (hidden from the agent): {live_in_episode(trial, past) + 1}", _GREY
    if success:
        yield "success", _GREEN
    elif last:
        yield "failed", _RED
