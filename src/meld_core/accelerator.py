"""The device that trains: which one it is, what it multiplies fast, its random numbers, and what becomes of training
when a GPU is lost."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from meld_core.config import Config

_CPUINFO = Path("/proc/cpuinfo")


def find_device(name: str) -> torch.device:
    """The device of `learner.device`."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def with_fast_products(config: Config, device: torch.device) -> Config:
    """The same without bf16 where the device is slower in it than in fp32."""
    if bf16_is_faster(device):
        return config
    learner, slac = dataclasses.replace(config.learner, bf16=False), dataclasses.replace(config.slac, bf16=False)
    return dataclasses.replace(config, learner=learner, slac=slac)


@functools.cache
def bf16_is_faster(device: torch.device) -> bool:
    """Whether a device multiplies bf16 factors faster than fp32 ones; False where nobody has measured it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return _CPUINFO.is_file() and cpu_is_fast_in_bf16(_CPUINFO.read_text(encoding="utf-8"))


def cpu_is_fast_in_bf16(cpuinfo: str) -> bool:
    """The same of a processor, by what Linux says of its first core.

    Rates of products and convolutions, bf16 to fp32 (docs/PERFORMANCE.md): with AMX 3 and more, AMD's avx512_bf16 2.1
    to 2.3, Intel's without AMX .5 to .75, plain AVX-512 .2 to .3, AVX2 .02 to .17.
    """
    lines = dict(line.split(":", 1) for line in cpuinfo.partition("\n\n")[0].splitlines() if ":" in line)
    said = {name.strip(): value.split() for name, value in lines.items()}
    flags, vendor = said.get("flags", []), said.get("vendor_id", [])
    return "amx_bf16" in flags or ("avx512_bf16" in flags and vendor == ["AuthenticAMD"])


def random_state(device: torch.device) -> torch.Tensor | None:
    """State of a GPU's random generator; None on a CPU, which has torch's own."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else None


class AcceleratorLostError(RuntimeError):
    """The GPU is lost or has no memory left; the text is one clear sentence."""


@contextmanager
def accelerator_watched() -> Iterator[None]:
    """Turn what torch raises for a lost or a full GPU into AcceleratorLostError."""
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        said = str(error).partition("\n")[0]
        raise AcceleratorLostError(
            f"the GPU failed ({said}); what was trained until the last checkpoint is on disk, learner.device=cpu goes "
            "on without it"
        ) from error
