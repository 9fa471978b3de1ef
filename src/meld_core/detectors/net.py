"""RewardNet: a small network that sees in a picture of the detector view whether it shows a success; and its file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from meld_core.json_text import parse_object
from meld_core.storage.files import make_folder, write_atomic
from meld_core.storage.tensor_file import FormatError, pack, unpack

SIZE = 64
"""Pictures are averaged to this size [px]."""
_KIND = "reward_classifier"
_BATCH = 64


class ClassifierError(ValueError):
    """This classifier cannot be used; the text is one clear sentence."""


class RewardNet(nn.Module):
    """(N, 64, 64, 3) uint8 → (N,) logits, by three convolutions and two linear layers: 150,000 parameters.

    Each picture is brought to mean 0 and standard deviation 1 over all its values: brightness and contrast drop out,
    colours stay. Where in the picture something is matters, so that nothing is pooled away.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(),
            nn.Linear(32 * (SIZE // 8) ** 2, 64), nn.SiLU(), nn.Linear(64, 1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """(N, 64, 64, 3) uint8 → (N,)."""
        x = images.permute(0, 3, 1, 2).float()
        x = (x - x.mean(dim=(1, 2, 3), keepdim=True)) / (x.std(dim=(1, 2, 3), keepdim=True) + 1.0)
        logits: Tensor = self.layers(x).squeeze(-1)
        return logits


def small(images: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) uint8 → (N, 64, 64, 3) by averaging."""
    if images.shape[1:3] == (SIZE, SIZE):
        return images
    return np.stack([cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for image in images])


@dataclasses.dataclass(frozen=True)
class ClassifierFacts:
    """What a classifier's file says about itself."""

    threshold: float
    """Least probability that counts as success."""
    temperature: float
    """Logits are divided by this: probabilities are calibrated on pictures that were not trained on."""
    brightness: float
    """Mean brightness of the training pictures, of 255."""
    brightness_spread: float
    unsure: float
    """Share of undecided judgements on pictures that were not trained on."""
    pictures: int
    source: str
    """Who labelled them."""
    false_positive_rate: float
    """The rate that the threshold was chosen for."""


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained network with its threshold."""

    net: RewardNet
    facts: ClassifierFacts

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 → (N,) float32."""
        parts = [self._part(small(images[i : i + _BATCH])) for i in range(0, len(images), _BATCH)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _part(self, images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = self.net(torch.from_numpy(np.ascontiguousarray(images))) / self.facts.temperature
            return np.asarray(torch.sigmoid(logits).numpy(), np.float32)


def save_classifier(classifier: Classifier, path: Path) -> None:
    """Write its file. Raises StorageError where the disk refuses."""
    arrays = {name: tensor.detach().numpy() for name, tensor in classifier.net.state_dict().items()}
    meta = json.dumps({"schema": 1, **dataclasses.asdict(classifier.facts)}, sort_keys=True)
    make_folder(path.parent)
    write_atomic(path, pack(_KIND, meta, arrays))


def load_classifier(path: Path) -> Classifier:
    """Read a file of `save_classifier`.

    Raises:
        ClassifierError: where it is missing, damaged or holds another network.
    """
    try:
        meta, arrays = unpack(_KIND, path.read_bytes())
        raw = parse_object(meta)
        if raw.pop("schema", None) != 1:
            raise FormatError("it is not of schema 1")
        facts = ClassifierFacts(**raw)
        _check_facts(facts)
        net = RewardNet()
        net.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
    except OSError as error:
        raise ClassifierError(
            f"cannot read the classifier {path}: {error.strerror}; `meld reward train` writes one [reward.weights]"
        ) from None
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ClassifierError(f"{path} is no reward classifier: {reason} [reward.weights]") from None
    if not all(bool(np.isfinite(array).all()) for array in arrays.values()):
        raise ClassifierError(f"{path} holds numbers that are not finite [reward.weights]")
    return Classifier(net.eval(), facts)


def _check_facts(facts: ClassifierFacts) -> None:
    """Raise ValueError unless every field is of its type, and finite."""
    for field in dataclasses.fields(facts):
        value = getattr(facts, field.name)
        if field.type == "str" and isinstance(value, str):
            continue
        if type(value) not in (int, float) or not abs(value) < 1e12:
            raise ValueError(f"its header says {field.name}={value!a}")
    if facts.temperature <= 0.0:
        raise ValueError(f"its header says temperature={facts.temperature}")
