"""Versioned weights: all that an agent needs, with the config that built them. What is not finite never leaves here."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meld_core.config import Config, flatten, to_mapping
from meld_core.json_text import parse_object
from meld_core.storage.files import make_folder, remove_temporary, sync_folder, write_atomic
from meld_core.storage.tensor_file import pack, unpack

WEIGHTS_SCHEMA = 1
"""Version of the weights format; a reader refuses any other."""
KEPT_VERSIONS = 5
"""Newest versions that a folder keeps, besides `final`."""
FINAL = "final.safetensors"

_STORABLE = {
    torch.float32, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
}  # fmt: skip
_SHAPING = (
    "model.", "sac.hidden", "sac.critics", "sac.max_std", "sac.network", "sac.spread", "sim.views", "sim.image_size",
    "task.ports",
)  # fmt: skip
_LOG = logging.getLogger(__name__)


class WeightsError(ValueError):
    """These weights must not act; the text is one clear sentence."""


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """A snapshot of the agent's networks; equal digests mean equal behaviour.

    Raises:
        WeightsError: at construction, where a number is NaN or infinite, or a tensor's type cannot be stored.
    """

    tensors: Mapping[str, torch.Tensor]
    """Copied to the CPU at construction: later training does not change a snapshot."""
    version: int
    """Counts up within a run, from 0."""
    trained_through_trial: int
    """Index of the last trial that they were trained on; -1 for none."""
    run: str
    config: Mapping[str, Any]
    """`config.to_mapping` of the config that built them."""

    def __post_init__(self) -> None:
        copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in self.tensors.items()}
        object.__setattr__(self, "tensors", copies)
        for name, tensor in copies.items():
            if tensor.dtype not in _STORABLE:
                raise WeightsError(f"weights version {self.version} hold {tensor.dtype} in '{name}'; store float32")
            if not bool(torch.isfinite(tensor).all()):
                raise WeightsError(f"weights version {self.version} hold NaN or infinity in '{name}': not used")

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of all tensors and the config, not of version or run."""
        sha = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            sha.update(tensor.numpy().tobytes())
        return sha.hexdigest()

    @property
    def architecture(self) -> str:
        """sha256 of the settings that shape the networks."""
        return architecture_of(self.config)

    def to_bytes(self) -> bytes:
        """Safetensors bytes: the same on the wire and on disk."""
        meta = {
            "schema": WEIGHTS_SCHEMA,
            "version": self.version,
            "trained_through_trial": self.trained_through_trial,
            "run": self.run,
            "config": self.config,
        }
        arrays = {name: tensor.numpy() for name, tensor in self.tensors.items()}
        return pack("weights", json.dumps(meta, sort_keys=True), arrays)

    @staticmethod
    def from_bytes(data: bytes) -> Weights:
        """Inverse of `to_bytes`.

        Raises:
            WeightsError: where a byte is damaged, the schema is another, or a number is not finite.
        """
        try:
            text, arrays = unpack("weights", bytes(data))
            return Weights(tensors=_tensors(arrays), **_read_meta(text))
        except (ValueError, RecursionError) as error:
            raise WeightsError(str(error)) from None

    def check_fits(self, config: Config) -> None:
        """Raise WeightsError naming each setting in which `config` builds other networks than these weights need."""
        stored, wanted = shaping_settings(self.config), shaping_settings(to_mapping(config))
        if stored == wanted:
            return
        names = [name for name in sorted(stored | wanted) if stored.get(name) != wanted.get(name)]
        theirs = ", ".join(f"{name}={stored.get(name, 'unknown')}" for name in names)
        ours = ", ".join(str(wanted.get(name, "no such setting")) for name in names)
        advice = "change these settings or use other weights"
        if names == ["task.ports"]:
            advice = (
                f"with model.ports={stored['task.ports']} they act on such a box, knowing no more ports than they do"
            )
        raise WeightsError(f"weights were built with {theirs}, this config has {ours}; {advice}")


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _read_meta(text: str) -> dict[str, Any]:
    kinds = {"version": int, "trained_through_trial": int, "run": str, "config": dict}
    try:
        meta = parse_object(text)
    except ValueError as error:
        raise WeightsError(f"weights are not of schema {WEIGHTS_SCHEMA}: {error}") from None
    if meta.pop("schema", None) != WEIGHTS_SCHEMA:
        raise WeightsError(f"weights are not of schema {WEIGHTS_SCHEMA}")
    if set(meta) != set(kinds) or any(type(meta[name]) is not kind for name, kind in kinds.items()):
        raise WeightsError(f"the weights' header must hold {', '.join(kinds)}, got {text[:120]!a}")
    return meta


def shaping_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings of a config mapping that shape the networks, flat.

    A setting that it lacks came later and counts as its default, which changes nothing.
    """
    flat = _defaults() | flatten(config)
    flat["task.ports"] = flat.pop("model.ports") or flat["task.ports"]
    shaping = (*_SHAPING, "slac.") if flat["model.kind"] == "slac" else _SHAPING
    return {name: value for name, value in flat.items() if name.startswith(shaping)}


@functools.cache
def _defaults() -> dict[str, Any]:
    return flatten(to_mapping(Config()))


def architecture_of(config: Mapping[str, Any]) -> str:
    """sha256 of the settings that shape the networks."""
    return hashlib.sha256(json.dumps(shaping_settings(config), sort_keys=True).encode()).hexdigest()


def save_weights(folder: Path, weights: Weights, *, final: bool = False, keep: int = KEPT_VERSIONS) -> Path:
    """Write `<version>.safetensors` (or `final.safetensors`) atomically; older versions than the newest `keep` go.

    Raises:
        StorageError: where the disk refuses.
    """
    remove_temporary(make_folder(folder))
    path = folder / (FINAL if final else f"{weights.version:08d}.safetensors")
    write_atomic(path, weights.to_bytes())
    for old in _versions(folder)[:-keep]:
        old.unlink(missing_ok=True)
    sync_folder(folder)
    return path


def load_weights(path: Path) -> Weights:
    """Read a file of weights.

    Raises:
        WeightsError: where it is missing, damaged, of another schema or not finite.
    """
    try:
        return Weights.from_bytes(Path(path).read_bytes())
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror}") from None
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def saved_weights(folder: Path) -> list[Weights]:
    """The sound numbered versions of a folder, oldest first; a damaged one is passed over and logged."""
    found: list[Weights] = []
    for path in _versions(folder):
        try:
            found.append(load_weights(path))
        except WeightsError as error:
            _LOG.warning("passed over damaged weights: %s", error)
    return found


def latest_weights(folder: Path) -> Weights | None:
    """The newest sound weights of a folder, a damaged newer file being passed over (and logged); None without any."""
    final = [path for path in (folder / FINAL,) if path.is_file()]
    found: list[Weights] = []
    for path in [*final, *reversed(_versions(folder))]:
        try:
            found.append(load_weights(path))
        except WeightsError as error:
            _LOG.warning("passed over damaged weights: %s", error)
            continue
        if path.name != FINAL:
            break
    return max(found, key=lambda weights: weights.version, default=None)


def _versions(folder: Path) -> list[Path]:
    """Numbered files, oldest first."""
    return sorted(path for path in folder.glob("*.safetensors") if path.stem.isdecimal())
