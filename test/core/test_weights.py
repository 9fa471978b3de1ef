"""Weights: versioned, digested, finite, and only for the networks that they were built for."""

import contextlib
import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from meld_core.config import Config, load_config, to_mapping
from meld_core.storage.tensor_file import pack
from meld_core.weights import Weights, WeightsError, latest_weights, load_weights, save_weights, shaping_settings

CONFIG = to_mapping(Config())


def weights_of(version: int = 3, value: float = 1.0, **changes) -> Weights:
    tensors = {
        "model.gru.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3) * value,
        "actor.bias": torch.tensor([0.5, -0.5]),
        "steps": torch.tensor(7),
    }
    return Weights(
        **{"tensors": tensors, "version": version, "trained_through_trial": 9, "run": "demo", "config": CONFIG}
        | changes
    )


def test_weights_survive_the_wire():
    sent = weights_of()
    got = Weights.from_bytes(sent.to_bytes())
    assert (got.version, got.trained_through_trial, got.run, got.config) == (3, 9, "demo", CONFIG)
    assert set(got.tensors) == set(sent.tensors)
    for name, tensor in sent.tensors.items():
        assert got.tensors[name].dtype == tensor.dtype
        assert torch.equal(got.tensors[name], tensor)
    assert got.digest == sent.digest
    assert got.to_bytes() == sent.to_bytes()


def test_received_tensors_are_writable_and_own_their_memory():
    data = weights_of().to_bytes()
    got = Weights.from_bytes(data)
    got.tensors["actor.bias"].fill_(9.0)
    assert data == weights_of().to_bytes()


def test_a_snapshot_does_not_follow_later_training():
    live = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    snapshot = weights_of(tensors={"a": live})
    with torch.no_grad():
        live.fill_(5.0)
    assert snapshot.tensors["a"].tolist() == [1.0, 2.0]
    assert not snapshot.tensors["a"].requires_grad


def test_digest_by_hand():
    weights = weights_of(tensors={"b": torch.tensor([2.0]), "a": torch.tensor([[1.0]])}, config={"x": 1})
    text = (
        b'{"x": 1}'
        + b"a torch.float32 (1, 1)"
        + np.float32(1).tobytes()
        + b"b torch.float32 (1,)"
        + np.float32(2).tobytes()
    )
    assert weights.digest == hashlib.sha256(text).hexdigest()


def test_digest_is_that_of_the_behaviour():
    assert weights_of(version=4).digest == weights_of(version=3).digest
    assert weights_of(value=1.0000001).digest != weights_of().digest
    assert weights_of(config=to_mapping(load_config([], ["eval.greedy=false"]))).digest != weights_of().digest


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_never_made_nor_read(bad):
    sound = weights_of()
    with pytest.raises(WeightsError, match=r"weights version 3 hold NaN or infinity in 'actor\.bias'"):
        weights_of(tensors={**sound.tensors, "actor.bias": torch.tensor([0.0, bad])})
    meta = {"schema": 1, "version": 3, "trained_through_trial": 9, "run": "demo", "config": CONFIG}
    data = pack("weights", json.dumps(meta), {"actor.bias": np.array([0.0, bad], np.float32)})
    with pytest.raises(WeightsError, match=r"hold NaN or infinity in 'actor\.bias'"):
        Weights.from_bytes(data)


def test_a_type_that_cannot_be_stored_is_named():
    with pytest.raises(WeightsError, match=r"hold torch\.bfloat16 in 'a'; store float32"):
        weights_of(tensors={"a": torch.zeros(2, dtype=torch.bfloat16)})


def test_every_flipped_byte_and_truncation_is_seen():
    data = weights_of(config={"x": 1}).to_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 + place % 255
        for bad in (bytes(flipped), data[:place]):
            with pytest.raises(WeightsError):
                Weights.from_bytes(bad)


_META = {"schema": 1, "version": 3, "trained_through_trial": 9, "run": "demo", "config": {}}


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({**_META, "schema": 2}, "weights are not of schema 1"),
        ([], "weights are not of schema 1"),
        ({**_META, "version": "3"}, "header must hold version, trained_through_trial, run, config, got"),
        ({**_META, "extra": 1}, "header must hold"),
        ({k: v for k, v in _META.items() if k != "run"}, "header must hold"),
    ],
)
def test_another_header_is_refused(meta, message):
    with pytest.raises(WeightsError, match=message):
        Weights.from_bytes(pack("weights", json.dumps(meta), {}))


def test_a_trial_is_no_weights():
    with pytest.raises(WeightsError, match="this is a 'trial' file, expected 'weights'"):
        Weights.from_bytes(pack("trial", "{}", {}))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    data=st.binary(max_size=200), changes=st.dictionaries(st.sampled_from([*_META]), _JSON, max_size=2), text=st.text()
)
def test_no_bytes_break_the_reader(data, changes, text):
    with pytest.raises(WeightsError):
        Weights.from_bytes(data)
    with pytest.raises(WeightsError):
        Weights.from_bytes(pack("weights", text, {}))
    try:
        weights = Weights.from_bytes(pack("weights", json.dumps({**_META, **changes}), {}))
    except WeightsError as error:
        assert str(error)
    else:  # what their config lacks counts as its default
        differs = shaping_settings(weights.config) != shaping_settings(to_mapping(Config()))
        with pytest.raises(WeightsError, match="weights were built with") if differs else contextlib.nullcontext():
            weights.check_fits(Config())


def test_weights_fit_the_config_that_built_them_whatever_else_differs():
    weights_of().check_fits(
        load_config([], ["sac.discount=0.5", "learner.bf16=true", "eval.trials=3", "task.horizon=9"])
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.memory=64"], "weights were built with model.memory=128, this config has 64; change"),
        (
            ["sac.critics=5", "model.latent=32"],
            "weights were built with model.latent=24, sac.critics=2, this config has 32, 5; change these",
        ),
        (["sim.views=[wrist]"], r"built with sim.views=\['external', 'wrist'\], this config has \['wrist'\]"),
        (["sim.image_size=32"], "built with sim.image_size=64, this config has 32"),
    ],
)
def test_weights_of_another_architecture_are_refused_by_name(overrides, message):
    config = load_config([], overrides)
    with pytest.raises(WeightsError, match=message):
        weights_of().check_fits(config)
    assert weights_of(config=to_mapping(config)).architecture != weights_of().architecture


def test_weights_of_three_ports_act_on_a_box_of_four_only_when_told_to():
    """The architecture is that of three ports, whatever the box has; nothing else may differ beside it."""
    told = load_config([], ["task.ports=4", "model.ports=3"])
    weights_of().check_fits(told)
    assert weights_of(config=to_mapping(told)).architecture == weights_of().architecture
    with pytest.raises(
        WeightsError, match=r"task\.ports=3, this config has 4; with model\.ports=3 they act on such a box"
    ):
        weights_of().check_fits(load_config([], ["task.ports=4"]))
    with pytest.raises(WeightsError, match=r"model\.latent=24, task\.ports=3, this config has 32, 4; change these"):
        weights_of().check_fits(load_config([], ["task.ports=4", "model.latent=32"]))


def test_settings_that_shape_networks():
    names = set(shaping_settings(CONFIG))
    assert {"model.memory", "model.kind", "sac.hidden", "sac.critics", "sim.views", "sim.image_size"} <= names
    assert not {name for name in names if name.startswith(("loss.", "learner.", "train."))}
    assert {name for name in names if name.startswith("task.")} == {"task.ports"}
    assert "sac.discount" not in names


def test_the_newest_five_and_the_final_are_kept(tmp_path):
    save_weights(tmp_path, weights_of(0), final=True)
    for version in range(1, 9):
        path = save_weights(tmp_path, weights_of(version))
        assert path.name == f"{version:08d}.safetensors"
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert kept == [*(f"{version:08d}.safetensors" for version in range(4, 9)), "final.safetensors"]
    assert latest_weights(tmp_path).version == 8
    save_weights(tmp_path, weights_of(9), final=True)
    assert latest_weights(tmp_path).version == 9


def test_damaged_weights_are_passed_over(tmp_path, caplog):
    for version in (1, 2):
        path = save_weights(tmp_path, weights_of(version))
    path.write_bytes(path.read_bytes()[:-1])
    assert latest_weights(tmp_path).version == 1
    assert f"passed over damaged weights: {path}: weights data of" in caplog.text


def test_no_weights_yet(tmp_path):
    assert latest_weights(tmp_path) is None
    assert latest_weights(tmp_path / "none") is None


def test_a_crash_while_saving_leaves_the_last_version(tmp_path, monkeypatch):
    class Crash(BaseException):
        pass

    def crash(*_):
        raise Crash

    save_weights(tmp_path, weights_of(1))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", crash)
        with pytest.raises(Crash):
            save_weights(tmp_path, weights_of(2))
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    assert latest_weights(tmp_path).version == 1
    save_weights(tmp_path, weights_of(2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000001.safetensors", "00000002.safetensors"]


def test_a_file_is_named_where_it_cannot_be_read(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot read weights .*none: No such file or directory"):
        load_weights(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"no")
    with pytest.raises(WeightsError, match="bad: weights data of 2 bytes does not begin like a weights file"):
        load_weights(tmp_path / "bad")


def test_weights_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        weights_of().version = 5  # type: ignore[misc]
