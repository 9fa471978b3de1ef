"""Weights that ship with the package, so that a newcomer can watch an arm adapt before training anything.

`weights.safetensors` and `certificate.json` beside this file are copies of a run's; `install_demo` puts them there.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meld_core.evaluation.certificate import check_certificate, load_certificate
from meld_core.storage.files import write_atomic
from meld_core.storage.run_folder import RunFolder
from meld_core.weights import FINAL, Weights, WeightsError, load_weights

DEMO = "demo"
"""What `--weights` calls them."""
LARGEST = 10_000_000
"""Bytes that the package may grow by."""
_WEIGHTS, _CERTIFICATE = "weights.safetensors", "certificate.json"


class DemoError(ValueError):
    """A run that cannot become the demo; the text is one clear sentence."""


def demo_weights() -> Weights:
    """The weights of the package.

    Raises:
        WeightsError: where they are missing or damaged.
    """
    try:
        return Weights.from_bytes((importlib.resources.files(__name__) / _WEIGHTS).read_bytes())
    except OSError as error:
        raise WeightsError(f"the package's demo weights cannot be read ({error}); install it again") from None


def demo_certificate() -> Mapping[str, Any]:
    """What these weights achieved on held-out tasks when they were made.

    Raises:
        CertificateError: where its numbers contradict each other.
    """
    text = (importlib.resources.files(__name__) / _CERTIFICATE).read_text(encoding="utf-8")
    certificate: dict[str, Any] = json.loads(text)
    check_certificate(certificate, "the demo's certificate")
    return certificate


def install_demo(run: RunFolder, target: Path) -> Weights:
    """Make a run's final weights and their certificate the demo.

    Args:
        run: A run that was trained to its end and evaluated.
        target: Folder of the package's source to write to: src/meld_core/demo of a checkout.

    Raises:
        DemoError: where the certificate belongs to other weights, or the file is too large.
        WeightsError, CertificateError: where a file is missing or damaged.
        StorageError: where the disk refuses.
    """
    path = run.open().weights / FINAL
    weights, certificate = load_weights(path), load_certificate(run.certificate)
    if certificate["weights"]["sha256"] != weights.digest:
        raise DemoError(f"{run.certificate} is of other weights than {path}; evaluate the run again (`meld train`)")
    if (size := path.stat().st_size) > LARGEST:
        raise DemoError(f"{path} has {size} bytes, a demo at most {LARGEST}")
    write_atomic(target / _WEIGHTS, path.read_bytes())
    write_atomic(target / _CERTIFICATE, run.certificate.read_bytes())
    return weights
