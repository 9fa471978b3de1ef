"""The learner on a GPU (`make test-gpu`; `make test` runs on machines without one)."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from meld_core import learner as learner_module
from meld_core.batch import learner_trial, make_batch
from meld_core.bench.data import Store, demonstrations
from meld_core.config import Config, load_config
from meld_core.learner import Learner
from meld_core.recorded_update import RecordedUpdate

GPU = torch.device("cuda")
SMALL = (
    "learner.device=cuda", "learner.pretrain_model_updates=4", "learner.pretrain_ac_updates=12",
    "learner.model_updates=3", "learner.ac_updates=8", "learner.update_every=1", "train.demonstrations=3",
)  # fmt: skip


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(overrides=list(SMALL))


@pytest.fixture(scope="module")
def store(config: Config) -> Store:
    return Store(demonstrations(config, 3))


@dataclasses.dataclass
class Pair:
    x: Tensor
    y: Tensor


def test_a_recorded_update_does_what_the_plain_one_does() -> None:
    """Adam on a line: the weight after each of 12 updates equals that of the plain updates bit for bit."""
    weights = {kind: torch.tensor([0.5, -1.0], device=GPU, requires_grad=True) for kind in ("plain", "recorded")}

    def act_on(weight: Tensor) -> RecordedUpdate[Pair]:
        optimizer = torch.optim.Adam([weight], lr=torch.tensor(0.1, device=GPU), fused=True, capturable=True)

        def act(batch: Pair) -> dict[str, Tensor]:
            optimizer.zero_grad(set_to_none=True)
            loss = ((batch.x @ weight - batch.y) ** 2).mean()
            loss.backward()
            optimizer.step()
            return {"loss": loss.detach(), "first": weight.detach()[0].clone()}

        return RecordedUpdate(act, GPU)

    plain, recorded = act_on(weights["plain"]), act_on(weights["recorded"])
    seen = []
    for i in range(12):
        torch.manual_seed(i)
        batch = Pair(torch.randn(8, 2, device=GPU), torch.randn(8, device=GPU))
        expected, got = plain._act(batch), recorded(batch)
        seen.append(got)
        assert torch.equal(weights["plain"], weights["recorded"]), i
        assert torch.equal(expected["loss"], got["loss"]), i
    assert recorded._graph is not None
    assert len({float(metrics["first"]) for metrics in seen}) == 12, "metrics are not overwritten by later calls"


def test_random_numbers_of_a_recorded_update_go_on() -> None:
    """The plain generator's numbers, in its order, replayed or not; and no number twice."""

    def draw(batch: Pair) -> dict[str, Tensor]:
        return {"noise": torch.randn(1000, device=GPU).add(batch.x.sum()).mean()}

    nothing = Pair(torch.zeros(2, device=GPU), torch.zeros(2, device=GPU))
    torch.manual_seed(7)
    plain = [float(draw(nothing)["noise"]) for _ in range(8)]
    torch.manual_seed(7)
    recorded = RecordedUpdate(draw, GPU)
    assert [float(recorded(nothing)["noise"]) for _ in range(8)] == plain
    assert len(set(plain)) == 8


def test_the_loss_is_that_of_the_cpu(config: Config, store: Store) -> None:
    """One set of weights, one batch: fp32 agrees within 0.1 %, bf16 within 1 %."""
    trials = [learner_trial(trial, config) for trial in store.trials]
    losses = {}
    for device, bf16 in (("cpu", False), ("cuda", False), ("cuda", True)):
        whole = load_config(overrides=[*SMALL, f"learner.bf16={bf16}", "loss.image_fraction=1.0", "learner.device=cpu"])
        learner = Learner(whole, Store([]))  # the seed's own weights, made on the CPU
        model = learner.networks.model.to(device)
        torch.manual_seed(0)
        losses[device, bf16] = float(_mean_loss(model, make_batch(trials, torch.device(device)), whole))
    assert losses["cuda", False] == pytest.approx(losses["cpu", False], rel=1e-3)
    assert losses["cuda", True] == pytest.approx(losses["cuda", False], rel=1e-2)


def _mean_loss(model: torch.nn.Module, batch: object, config: Config) -> Tensor:
    """Over 20 draws of the latent: the two devices draw differently."""
    with torch.no_grad():
        return torch.stack([model.loss(batch, config.loss)[0] for _ in range(20)]).mean()  # type: ignore[operator]


def test_training_goes_on_from_a_checkpoint_on_the_gpu(config: Config, store: Store, tmp_path: Path) -> None:
    """Counters, random numbers of the device and updates of the actor-critic go on as if nothing had been saved."""
    whole, parts = Learner(config, store), Learner(config, store)
    for learner in (whole, parts):
        assert all(math.isfinite(value) for value in learner.train_after(2).values())
    parts.save(tmp_path / "c.safetensors")
    resumed = Learner(config, store)
    resumed.load(tmp_path / "c.safetensors")
    assert torch.equal(whole._device_rng, resumed._device_rng)
    rows = [learner.train_after(3) for learner in (whole, resumed)]
    assert (whole.model_updates, whole.ac_updates) == (7, 20) == (resumed.model_updates, resumed.ac_updates)
    for name in ("model/loss", "critic/loss", "actor/loss"):
        assert rows[0][name] == pytest.approx(rows[1][name], rel=0.05), name
    assert torch.equal(whole._device_rng, resumed._device_rng), "as many random numbers were drawn"


def test_a_gradient_that_is_not_finite_is_left_out_of_a_recorded_round(
    config: Config, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner(config, store)
    learner.train_after(2)
    assert learner._recorded._graph is not None
    before = {name: tensor.clone() for name, tensor in learner.networks.critics.state_dict().items()}
    cache = learner._fill_cache()
    batch = cache.sample(config.learner.batch_transitions)
    poisoned = dataclasses.replace(batch, reward=torch.full_like(batch.reward, float("nan")))
    learner._recorded(poisoned)
    assert learner.skipped == 1, "the critics'; actor and temperature do not see rewards"
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.networks.critics.state_dict().items())
    assert learner.finite()


def test_a_full_gpu_is_said_in_one_sentence(config: Config, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        torch.empty(2**50, dtype=torch.uint8, device=GPU)

    monkeypatch.setattr(learner_module, "make_batch", full)
    with pytest.raises(RuntimeError, match="learner.device=cpu goes on without it"):
        Learner(config, store).train_after(2)
