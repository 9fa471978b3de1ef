"""Which device multiplies bf16 faster than fp32: elsewhere training stays in fp32, whatever the settings allow."""

from __future__ import annotations

import pytest
import torch

from meld_core import accelerator
from meld_core.accelerator import cpu_is_fast_in_bf16, with_fast_products
from meld_core.bench.data import Store
from meld_core.config import load_config
from meld_core.learner import Learner

CPU = torch.device("cpu")


def cpuinfo(vendor: str, *flags: str) -> str:
    """Two cores, as Linux tells them; the second one is never looked at."""
    first = f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: A: B\nflags\t\t: fpu sse2 {' '.join(flags)}\n"
    return f"{first}power management:\n\nprocessor\t: 1\nflags\t\t: amx_bf16\n"


@pytest.mark.parametrize(
    ("vendor", "flags", "fast"),
    [
        ("GenuineIntel", ["avx512f", "avx512_bf16", "amx_bf16", "amx_tile"], True),
        ("GenuineIntel", ["avx512f", "avx512_bf16"], False),
        ("AuthenticAMD", ["avx512f", "avx512_bf16"], True),
        ("AuthenticAMD", ["avx2"], False),
        ("GenuineIntel", ["avx2"], False),
    ],
)
def test_processors(vendor: str, flags: list[str], fast: bool) -> None:
    assert cpu_is_fast_in_bf16(cpuinfo(vendor, *flags)) is fast


@pytest.mark.parametrize("text", ["", "processor\t: 0\nFeatures\t: fp asimd bf16\n"])
def test_a_processor_that_nobody_has_measured_stays_in_fp32(text: str) -> None:
    assert not cpu_is_fast_in_bf16(text)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("allowed", ["true", "false"])
def test_training_takes_bf16_where_it_is_allowed_and_fast(
    monkeypatch: pytest.MonkeyPatch, allowed: str, fast: bool
) -> None:
    monkeypatch.setattr(accelerator, "bf16_is_faster", lambda _: fast)
    config = load_config(overrides=[f"learner.bf16={allowed}", f"slac.bf16={allowed}", "learner.device=cpu"])
    found, wanted = with_fast_products(config, CPU), fast and allowed == "true"
    assert (found.learner.bf16, found.slac.bf16) == (wanted, wanted)
    learner = Learner(config, Store([]))
    assert learner.networks.critics.bf16 == wanted
    assert learner.weights().config["learner"]["bf16"] == (allowed == "true"), "weights tell the settings as they are"
