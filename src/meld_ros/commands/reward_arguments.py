"""Arguments of `meld reward ...` and `meld camera ...`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro


@dataclasses.dataclass(frozen=True, kw_only=True)
class Led:
    """Find region and colour range of an LED from a lit and a dark picture (or a film of both); write the settings."""

    lit: str = ""
    """Picture with the LED lit."""
    dark: str = ""
    """The same view with the LED dark."""
    video: str = ""
    """A film instead, in which the LED is lit in one part and dark in another."""
    out: str = "led.yaml"
    """Settings file to write; a preview goes beside it as PNG."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collect:
    """Collect labelled pictures of the detector view into a file."""

    out: tyro.conf.Positional[str]
    """File to write (.safetensors); collect several into one folder."""
    topic: str = ""
    """Live: topic of the detector view (detector_image). Keys s success, f failure, q quit; also the topic `label`."""
    bag: str = ""
    """A bag with `detector_image` and `label` (or `truth`, of a simulation)."""
    video: str = ""
    """A film, with --success."""
    success: str = ""
    """Times of success in the film [s], like 3.5-8,12-15."""
    every: int = 5
    """Take every n-th picture of the film."""
    pictures: str = ""
    """A folder with folders `success` and `failure`."""
    trials: str = ""
    """Folder of a simulated run: its detector views rendered again, labelled by the simulator."""
    sim: int = 0
    """That many simulated scenes with the LED lit and as many with it dark, labelled by the simulator."""
    held_out: bool = False
    """sim: scenes to score on (unseen light and poses, green distractor, occlusion) instead of scenes to train on."""
    seed: int = 0
    """sim: of the scenes."""
    condition: str = "bench"
    """Name of the conditions under which the pictures are taken; figures are told apart by it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainClassifier:
    """Train the classifier and choose its threshold."""

    labels: tyro.conf.Positional[str]
    """File or folder of labels."""
    out: str = "reward.safetensors"
    """Weights file to write; use it with reward.kind=classifier, reward.weights=FILE."""
    epochs: int = 12
    """Passes through the labels."""
    false_positives: float = 0.01
    """Share of failures that may be taken for a success."""
    seed: int = 0
    """Of everything that is drawn."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Precision, recall, false positives and reliability on labels that were not trained on."""

    labels: tyro.conf.Positional[str]
    """File or folder of labels."""
    weights: str = ""
    """Classifier; empty: the LED detector."""
    config: str = ""
    """Settings of the LED detector: a YAML file."""
    false_positives: float = 0.01
    """The threshold that would keep to this rate is told, too."""
    json: str = ""
    """Also write the figures to this file."""
    plot: str = ""
    """Draw them into this PNG."""


@dataclasses.dataclass(frozen=True)
class Reward:
    """Reward detectors: choose, teach and score what tells a success."""

    action: tyro.conf.OmitArgPrefixes[
        Annotated[Led, tyro.conf.subcommand("led", prefix_name=False)]
        | Annotated[Collect, tyro.conf.subcommand("collect", prefix_name=False)]
        | Annotated[TrainClassifier, tyro.conf.subcommand("train", prefix_name=False)]
        | Annotated[Report, tyro.conf.subcommand("report", prefix_name=False)]
    ]
    """What to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListCameras:
    """List video devices with their serial numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """Save what a camera sees now: by this picture it is recognised later."""

    device: tyro.conf.Positional[str]
    """Number or path of a video device, or a video file."""
    out: tyro.conf.Positional[str]
    """PNG to write; give it as `reference` of the camera."""
    width: int = 640
    """Capture width [px]."""
    height: int = 480
    """Capture height [px]."""


@dataclasses.dataclass(frozen=True)
class Camera:
    """Cameras: which there are, and what each must see."""

    action: tyro.conf.OmitArgPrefixes[
        Annotated[ListCameras, tyro.conf.subcommand("list", prefix_name=False)]
        | Annotated[Reference, tyro.conf.subcommand("reference", prefix_name=False)]
    ]
    """What to do."""
