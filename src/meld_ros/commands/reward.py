"""What `meld reward ...` and `meld camera ...` do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meld_core.config import Config, ConfigError, load_config
from meld_core.storage.files import write_atomic

if TYPE_CHECKING:
    from meld_core.detectors.labels import Labels
    from meld_core.detectors.picture import PictureDetector
    from meld_ros.commands.reward_arguments import Camera, Collect, Led, Reference, Report, Reward, TrainClassifier

_PROGRESS_EVERY = 100


def reward(command: Reward, line: str) -> int:
    """`meld reward`."""
    from meld_ros.commands import reward_arguments

    action = command.action
    if isinstance(action, reward_arguments.Led):
        return _led(action)
    if isinstance(action, reward_arguments.Collect):
        return _collect(action)
    if isinstance(action, reward_arguments.TrainClassifier):
        return _train(action)
    return _report(action)


def _led(command: Led) -> int:
    from meld_core.cameras.identity import read_picture, write_picture
    from meld_core.detectors.label_sources import film_frames
    from meld_core.detectors.led_tool import brightest_and_darkest, choose_led, preview, write_choice

    if bool(command.video) == bool(command.lit and command.dark):
        raise ConfigError("say where the LED is to be seen: either --lit FILE and --dark FILE, or --video FILE")
    if command.video:
        lit, dark = brightest_and_darkest([pixels for _, pixels in film_frames(Path(command.video))])
    else:
        lit, dark = read_picture(command.lit), read_picture(command.dark)
    choice = choose_led(lit, dark)
    out = Path(command.out)
    write_choice(choice, out)
    picture = out.with_suffix(".png")
    write_picture(picture, preview(lit, choice))
    print(choice.yaml(), end="")
    print(f"{choice.pixels} pixels of light; wrote {out} and {picture}: look at it", file=sys.stderr)
    return 0


def _collect(command: Collect) -> int:
    from meld_core.detectors.labels import save_labels

    given = {name: getattr(command, name) for name in ("topic", "bag", "video", "pictures", "trials", "sim")}
    chosen = [name for name, value in given.items() if value]
    if len(chosen) != 1:
        raise ConfigError(f"say where pictures come from, one of {', '.join('--' + name for name in given)}")
    labels = _labels(chosen[0], command)
    out = Path(command.out)
    save_labels(labels, out)
    print(f"{len(labels)} pictures, {int(labels.success.sum())} of success, labelled by {labels.source}: {out}")
    return 0


def _labels(source: str, command: Collect) -> Labels:
    from meld_core.detectors import label_sources

    if source == "video":
        spans = label_sources.parse_spans(command.success)
        return label_sources.labels_of_film(Path(command.video), spans, command.every, command.condition)
    if source == "pictures":
        return label_sources.labels_of_folder(Path(command.pictures), command.condition)
    if source == "topic":
        from meld_ros.commands.training import require_ros
        from meld_ros.label_node import label_live

        require_ros()
        return label_live(command.topic, command.condition)
    if source == "bag":
        from meld_ros.commands.label_bag import labels_of_bag

        return labels_of_bag(Path(command.bag), command.condition)
    return _simulated(command)


def _simulated(command: Collect) -> Labels:
    from meld_core.replay import Replay
    from meld_core.sim.detector_scenes import labels_of_trials, simulated_labels
    from meld_core.storage.run_folder import RunFolder

    if command.trials:
        run = RunFolder(Path(command.trials)).open()
        return labels_of_trials(run.read_config(), Replay(run.replay).trials)

    def progress(done: int) -> None:
        if done % _PROGRESS_EVERY == 0:
            print(f"{2 * done} pictures", file=sys.stderr)

    return simulated_labels(Config(), command.sim, command.seed, not command.held_out, progress)


def _train(command: TrainClassifier) -> int:
    from meld_core.detectors.labels import load_labels
    from meld_core.detectors.net import save_classifier
    from meld_core.detectors.training import train_classifier

    classifier = train_classifier(
        load_labels(Path(command.labels)),
        epochs=command.epochs,
        false_positive_rate=command.false_positives,
        seed=command.seed,
        on_epoch=lambda epoch, loss: print(f"epoch {epoch} of {command.epochs}: loss {loss:.4f}", file=sys.stderr),
    )
    save_classifier(classifier, Path(command.out))
    facts = classifier.facts
    print(f"threshold {facts.threshold:.3f} for {100 * facts.false_positive_rate:g} % false positives, {command.out}")
    return 0


def _report(command: Report) -> int:
    from meld_core.detectors.labels import load_labels
    from meld_core.detectors.report import report, table

    config = load_config([Path(command.config)] if command.config else []).reward
    labels = load_labels(Path(command.labels))
    result = report(_detector(command), labels, command.false_positives, config.min_brightness)
    print("\n".join(table(result)))
    threshold = result["threshold"]
    print(
        f"threshold {threshold['value']:.3f} would give {100 * command.false_positives:g} % false positives here; "
        f"Brier score {result['brier']:.4f}; labelled by {result['labelled_by']}"
    )
    if command.json:
        write_atomic(Path(command.json), (json.dumps(result, indent=1) + "\n").encode())
    if command.plot:
        from meld_core.detectors.plot import plot_reliability

        print(plot_reliability(result, Path(command.plot)), file=sys.stderr)
    return 0


def _detector(command: Report) -> PictureDetector:
    import dataclasses

    from meld_core.detectors.picture import PictureDetector
    from meld_core.rewards import make_detector

    config = load_config([Path(command.config)] if command.config else []).reward
    if command.weights:
        config = dataclasses.replace(config, kind="classifier", weights=command.weights)
    detector = make_detector(config)
    if not isinstance(detector, PictureDetector):
        raise ConfigError(f"a detector of kind '{config.kind}' looks at no pictures [setting: reward.kind]")
    return detector


def camera(command: Camera, line: str) -> int:
    """`meld camera`."""
    from meld_ros.commands import reward_arguments

    if isinstance(command.action, reward_arguments.Reference):
        return _reference(command.action)
    from meld_core.cameras.identity import video_devices

    found = video_devices()
    for device, name, serial in found:
        print(f"{device}  {name}  serial {serial or '(none)'}")
    if not found:
        print("no video device", file=sys.stderr)
    return 0


def _reference(command: Reference) -> int:
    from meld_core.cameras.capture import OpenCvCamera
    from meld_core.cameras.identity import write_picture
    from meld_core.config import CameraConfig

    config = CameraConfig(device=command.device, width=command.width, height=command.height)
    source = OpenCvCamera(config)
    try:
        frame = source.wait_newer(0, 10.0)
    finally:
        source.close()
    write_picture(Path(command.out), frame.pixels)
    print(command.out)
    return 0
