"""Whatever crosses a process or disk boundary may be anything: each parser accepts it or says in a sentence why not."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meld_core.detectors.labels import LabelError, load_labels, make_labels, save_labels
from meld_core.detectors.net import (
    Classifier,
    ClassifierError,
    ClassifierFacts,
    RewardNet,
    load_classifier,
    save_classifier,
)
from meld_core.learner import Learner
from meld_core.replay import Replay
from meld_core.storage import checkpoint
from meld_core.storage.checkpoint import CheckpointError
from meld_core.storage.chunks import Assembler, ChunkError, _piece, split_message
from meld_core.storage.ledger import LEDGER
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.spool import Part, Spool, decode_part, encode_part
from meld_core.storage.tensor_file import FormatError, unpack
from meld_core.storage.trial_file import TrialError, decode_trial, encode_trial
from meld_core.storage.verify import verify
from meld_core.trust.weights_gate import WeightsGate
from meld_core.weights import Weights, WeightsError, latest_weights

from .fuzzing import attempt, damaged, fuzz_settings, wrong_tensors
from .sound_files import CONFIG, LEDGER_LINES, ROWS, file_of, wrong_lines
from .test_learner import Store
from .trial_builder import meta_of, trial_of, truth_of

LEARNER = Learner(CONFIG, Store([]), "demo")
OTHER = Learner(CONFIG, Store([]), "demo")
GATE = WeightsGate(CONFIG, "demo")
TRIAL = encode_trial(trial_of())
EPISODE = encode_part(Part(meta_of(), 0, ROWS, truth_of(ROWS)))
WEIGHTS = LEARNER.weights().to_bytes()


def saved(save: Callable[[Path], object]) -> bytes:
    """The bytes that a function writes."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "x.safetensors")
        return (Path(folder) / "x.safetensors").read_bytes()


CHECKPOINT = saved(LEARNER.save)
LABELS = saved(
    lambda path: save_labels(
        make_labels([np.zeros((4, 4, 3), np.uint8)] * 2, [True, False], [0, 1], "day", "key"), path
    )
)
FACTS = ClassifierFacts(0.5, 1.0, 100.0, 10.0, 0.1, 10, "key", 0.01)
CLASSIFIER = saved(lambda path: save_classifier(Classifier(RewardNet(), FACTS), path))


def of_kind(kind: str, data: bytes) -> st.SearchStrategy[bytes]:
    """Damaged bytes, or whole files with wrong contents."""
    return st.one_of(damaged(data), wrong_tensors(kind, data))


@fuzz_settings
@given(of_kind("trial", TRIAL))
def test_trials(data: bytes) -> None:
    accepted = attempt("trial", lambda: decode_trial(data), TrialError)
    if accepted:
        assert encode_trial(decode_trial(data)) == data


@fuzz_settings
@given(of_kind("episode", EPISODE))
def test_episodes(data: bytes) -> None:
    attempt("episode", lambda: decode_part(data), TrialError)


@fuzz_settings
@given(of_kind("weights", WEIGHTS))
def test_weights(data: bytes) -> None:
    if attempt("weights", lambda: Weights.from_bytes(data), WeightsError):
        attempt("weights at the gate", lambda: GATE.admit(data), WeightsError)


@fuzz_settings
@given(of_kind("checkpoint", CHECKPOINT))
def test_checkpoints(data: bytes) -> None:
    with file_of(data) as path:
        if attempt("checkpoint", lambda: checkpoint.read(path), CheckpointError):
            attempt("checkpoint of a learner", lambda: OTHER.load(path), CheckpointError)


@fuzz_settings
@given(of_kind("reward_labels", LABELS))
def test_labels(data: bytes) -> None:
    with file_of(data) as path:
        attempt("labels", lambda: load_labels(path), LabelError)


@fuzz_settings
@given(of_kind("reward_classifier", CLASSIFIER))
def test_classifiers(data: bytes) -> None:
    with file_of(data) as path:
        attempt("classifier", lambda: load_classifier(path), ClassifierError)


PIECES = split_message(bytes(range(250)) * 4, whole=100, size=300)


@fuzz_settings
@given(st.lists(st.one_of(st.sampled_from(PIECES).flatmap(damaged), st.sampled_from(PIECES)), max_size=8))
def test_pieces(pieces: list[bytes]) -> None:
    assembler = Assembler()
    for piece in pieces:
        attempt("piece", lambda piece=piece: assembler.add(piece), ChunkError)
    whole = [message for piece in PIECES if (message := assembler.add(piece)) is not None]
    assert whole in ([bytes(range(250)) * 4], [])  # [] where it had been completed before


@fuzz_settings
@given(of_kind("trial", TRIAL))
def test_a_replay_stores_what_is_sound_and_nothing_else(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        replay = Replay(Path(folder))
        accepted = attempt("trial at the replay", lambda: replay.ingest(data), TrialError)
        stored = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert [path.read_bytes() for path in stored] == ([data] if accepted else [])


@fuzz_settings
@given(of_kind("trial", TRIAL), of_kind("episode", EPISODE), of_kind("weights", WEIGHTS), wrong_lines(LEDGER_LINES))
def test_a_folder_of_bad_files_is_opened_recovered_and_verified(
    trial: bytes, episode: bytes, weights: bytes, ledger: bytes
) -> None:
    """Nothing is deleted: what is bad lies in quarantine afterwards, byte for byte."""
    with tempfile.TemporaryDirectory() as place:
        run = RunFolder(Path(place) / "demo").create(CONFIG)
        name = "arm-demo-000007-01234567"
        (run.replay / f"{name}.safetensors").write_bytes(trial)
        (run.weights / "00000003.safetensors").write_bytes(weights)
        spool = Spool(run.spool)
        for path, data in (("pending/x", trial), (f"open/{name}/000", episode)):
            (run.spool / path).parent.mkdir(exist_ok=True)
            (run.spool / f"{path}.safetensors").write_bytes(data)
        (run.spool / LEDGER).write_bytes(ledger)
        attempt("folder verified", lambda: verify(run.path))
        attempt("folder's weights", lambda: latest_weights(run.weights))
        attempt("spool recovered", spool.recover)
        attempt("replay opened", lambda: Replay(run.replay))
        attempt("folder verified again", lambda: verify(run.path))
        kept = [path.read_bytes() for path in run.path.rglob("*.safetensors*") if path.is_file()]
        assert trial in kept
        assert weights in kept


_REFUSALS = (TrialError, WeightsError, FormatError)


@pytest.mark.parametrize("size", [2**63, 2**40, 10**12, 3_000_000_000])
@pytest.mark.parametrize("kind", ["trial", "weights", "episode", "checkpoint"])
def test_a_declared_size_is_not_allocated(kind: str, size: int) -> None:
    """A header that says that it is that long, and a tensor that says that it is."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    readers = (decode_trial, decode_part, Weights.from_bytes, lambda data: unpack("checkpoint", data))
    tracemalloc.start()
    try:
        for data in (size.to_bytes(8, "little") + b"{}" * 50, len(header).to_bytes(8, "little") + header):
            for read in readers:
                assert not attempt("declared size", lambda read=read, data=data: read(data), *_REFUSALS)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_piece_of_a_message_that_says_it_is_large_costs_what_it_weighs() -> None:
    piece = _piece(bytes(32), 1_000_000_000, 1000, 5, bytes(1000))
    assembler = Assembler()
    tracemalloc.start()
    try:
        assert assembler.add(piece) is None
        assert assembler.unfinished == 1
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
