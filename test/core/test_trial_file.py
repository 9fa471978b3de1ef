"""Trials as bytes: nothing that is damaged, half or nonsense gets in."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_builder import meta_of, set_at, trial_of, with_rows

from meld_core.storage.tensor_file import FormatError, pack, unpack
from meld_core.storage.trial_file import TrialError, decode_trial, encode_trial
from meld_core.types import ROW_FIELDS, Trial

FUZZ = settings(max_examples=200, deadline=None, derandomize=True)
DATA = encode_trial(trial_of())
META = trial_of().meta.to_json()


def with_header(entries: dict, body: bytes = b"", meta: str = "{}", sha256: str = "0" * 64) -> bytes:
    """Any header in front of any bytes, laid out like a trial file."""
    entry = json.dumps({"kind": "trial", "meta": meta, "sha256": sha256}, sort_keys=True)
    header = json.dumps({"__metadata__": {"meld": entry}, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + body


def same(a: Trial, b: Trial) -> bool:
    arrays = [*((a.rows[n], b.rows[n]) for n in ROW_FIELDS), *((a.truth[n], b.truth[n]) for n in a.truth)]
    return (
        a.meta == b.meta
        and set(a.truth) == set(b.truth)
        and all(x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in arrays)
    )


def test_a_trial_survives():
    assert same(decode_trial(DATA), trial_of())


def test_bytes_depend_on_the_trial_only():
    trial = trial_of()
    mixed = Trial(trial.meta, dict(reversed(trial.rows.items())), dict(reversed(trial.truth.items())))
    fortran = with_rows(trial, image=np.asfortranarray(trial.rows["image"]))
    assert encode_trial(mixed) == encode_trial(fortran) == encode_trial(decode_trial(DATA)) == DATA
    assert encode_trial(set_at(trial, "joints", 2, 0.125)) != DATA


def test_any_safetensors_reader_opens_a_trial():
    arrays = safetensors.numpy.load(DATA)
    assert set(arrays) == set(ROW_FIELDS) | {"truth/success", "truth/port"}
    assert np.array_equal(arrays["action"], trial_of().rows["action"])
    assert arrays["truth/port"].tolist() == [-1.0] * 7


def test_what_was_decoded_is_read_only():
    assert not any(array.flags.writeable for array in decode_trial(DATA).rows.values())


def test_every_flipped_byte_is_seen():
    for place in range(len(DATA)):
        flipped = bytearray(DATA)
        flipped[place] ^= 1 + place % 255
        with pytest.raises(TrialError):
            decode_trial(bytes(flipped))


def test_every_truncation_is_seen():
    for length in range(len(DATA)):
        with pytest.raises(TrialError):
            decode_trial(DATA[:length])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "trial data of 0 bytes does not begin like a trial file"),
        (DATA[:-1], f"trial data of {len(DATA) - 1} bytes is damaged or cut off"),
        (DATA + b"\0", "is damaged or cut off"),
        (DATA[:-1] + bytes([DATA[-1] ^ 1]), "does not match its sha256: it is damaged or cut off"),
        (pack("weights", "{}", {}), "this is a 'weights' file, expected 'trial'"),
        (with_header({}, b"\0"), "is damaged or cut off"),
        (with_header({}), "does not match its sha256"),
        (with_header({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)), "is damaged or cut off"),
        (with_header({"x": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "is damaged or cut off"),
        (with_header({"x": {"dtype": "U8", "shape": [10**30, 0], "data_offsets": [0, 0]}}), "is damaged or cut off"),
        (b"\x90\x01\0\0\0\0\0\0" + b"[" * 400, "does not begin like a trial file"),
        (pack("trial", "{}", {"x": np.array([2], np.uint8).view(bool)}), "neither 0 nor 1"),
        (pack("trial", META, {"x": np.array(2, np.uint8)}), "are single numbers"),
        (pack("trial", META, {}), "trial lacks the rows"),
        (pack("trial", "[" * 100_000, {}), "header is not readable"),
    ],
)
def test_wrong_bytes_are_named(data, message):
    with pytest.raises(TrialError, match=message) as caught:
        decode_trial(data)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def taken_or_refused(data: bytes) -> None:
    try:
        trial = decode_trial(data)
    except TrialError as error:
        assert str(error)
    else:
        assert same(decode_trial(encode_trial(trial)), trial)


@FUZZ
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data):
    with pytest.raises(TrialError):
        decode_trial(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)
_ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "BOOL", "I64", "x"]) | _JSON,
        "shape": st.lists(st.integers(-1, 9), max_size=4) | _JSON,
        "data_offsets": st.lists(st.integers(-1, 40), max_size=3) | _JSON,
    }
)


@FUZZ
@given(
    entries=st.dictionaries(
        st.sampled_from([*ROW_FIELDS, "truth/x"]) | st.text(max_size=5), _ENTRY | _JSON, max_size=4
    ),
    body=st.binary(max_size=40),
)
def test_any_header_is_refused(entries, body):
    with pytest.raises(TrialError):
        decode_trial(with_header(entries, body, meta=META))


@FUZZ
@given(changes=st.dictionaries(st.sampled_from([*json.loads(META)]), _JSON, max_size=3), id_=_JSON)
def test_any_meta_under_a_right_digest_is_taken_or_refused(changes, id_):
    meta = {**json.loads(META), **changes}
    _, arrays = unpack("trial", DATA)
    taken_or_refused(pack("trial", json.dumps(meta), arrays))
    taken_or_refused(pack("trial", json.dumps({**meta, "id": id_}), arrays))
    taken_or_refused(pack("trial", json.dumps({**meta, "id": {**json.loads(META)["id"], "run": id_}}), arrays))


@FUZZ
@given(name=st.sampled_from(sorted(ROW_FIELDS)), row=st.integers(0, 6), raw=st.binary(min_size=8, max_size=8))
def test_any_number_in_any_row_is_taken_or_refused(name, row, raw):
    _, arrays = unpack("trial", DATA)
    column = arrays[name].copy()
    column[row] = np.frombuffer(raw, column.dtype if column.dtype != bool else np.uint8)[0]
    taken_or_refused(pack("trial", META, {**arrays, name: column}))


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("joints", 2, NAN, "joints is not finite at row 2"),
        ("tool_position", 0, np.inf, "tool_position is not finite at row 0"),
        ("action", 1, NAN, "action is not finite at row 1"),
        ("action", 1, 1.5, r"action leaves \[-1, 1\] at row 1: \[1.5, 1.5, 1.5\]"),
        ("intended_action", 1, -1.01, r"intended_action leaves \[-1, 1\] at row 1"),
        ("source", 3, 4, "source is 4 at row 3, expected 0 to 3"),
        ("reward", 1, NAN, "row 1 has a valid reward of nan with probability 0.0"),
        ("probability", 1, 1.25, "row 1 has a valid reward of 0.0 with probability 1.25"),
        ("reward_valid", 1, False, "row 1 has a reward that is not valid, but not NaN or with success"),
        ("reward", 4, 1.0, "row 4 is first in its episode but has reward 1.0, expected 0"),
        ("first_in_trial", 0, False, "first_in_trial and first_in_episode must hold at row 0"),
        ("first_in_trial", 4, True, "first_in_trial nowhere else"),
        ("first_in_episode", 0, False, "first_in_trial and first_in_episode must hold at row 0"),
        ("first_in_episode", 2, True, "episode is 0 at row 2, expected 1"),
        ("first_in_episode", 4, False, "episode is 1 at row 4, expected 0"),
        ("episode", 6, 2, "episode is 2 at row 6, expected 1"),
        ("step", 2, 3, "step is 3 at row 2, expected 2"),
        ("stamp", 2, 20, "stamp 20 at row 2 is not later than the one before"),
        ("stamp", 0, 0, "stamp 0 at row 0 is not later than the one before"),
        ("stamp", 5, 1, "stamp 1 at row 5 is not later than the one before"),
        ("action", 3, 0.5, "the action at row 3, the last of its episode, is not zero"),
        ("action", 6, 0.5, "the action at row 6, the last of its episode, is not zero"),
        ("terminal", 3, True, "row 3 is terminal or truncated but not the last"),
        ("truncated", 0, True, "row 0 is terminal or truncated but not the last"),
        ("truncated", 6, True, "the last row must be either terminal or truncated"),
        ("terminal", 6, False, "the last row must be either terminal or truncated, unless the trial was aborted"),
        ("success", 6, False, "the last row is terminal without success"),
    ],
)
def test_a_row_that_tells_another_story_is_refused_by_reader_and_writer(name, row, value, message):
    """Rows 0 to 3 are episode 0, rows 4 to 6 episode 1."""
    bad = set_at(trial_of(steps=(3, 2)), name, row, value)
    with pytest.raises(TrialError, match=f"trial arm-demo-000007-01234567: .*{message}"):
        encode_trial(bad)
    _, arrays = unpack("trial", DATA)
    with pytest.raises(TrialError, match=message):
        decode_trial(pack("trial", bad.meta.to_json(), {**arrays, **bad.rows}))


def test_stamps_may_not_fall_by_wrapping_around():
    """The difference of the two stamps overflows int64 and looks positive."""
    bad = set_at(set_at(trial_of(), "stamp", 5, 2**63 - 1), "stamp", 6, -(2**63))
    with pytest.raises(TrialError, match="stamp -9223372036854775808 at row 6"):
        encode_trial(bad)


def test_a_missing_judgement_is_nan_and_accepted():
    trial = set_at(set_at(set_at(trial_of(), "reward_valid", 1, False), "reward", 1, NAN), "probability", 1, NAN)
    assert same(decode_trial(encode_trial(trial)), trial)
    with pytest.raises(TrialError, match="row 1 has a reward that is not valid"):
        encode_trial(set_at(trial, "reward", 1, 0.0))
    with pytest.raises(TrialError, match="row 1 has a reward that is not valid"):
        encode_trial(set_at(trial, "success", 1, True))


def test_an_aborted_trial_may_end_with_an_inner_episode():
    inner = set_at(trial_of(), "terminal", 6, False)
    aborted = dataclasses.replace(inner, meta=meta_of(aborted="the policy was lost"))
    assert decode_trial(encode_trial(aborted)).meta.aborted == "the policy was lost"


def test_an_episode_has_a_step():
    with pytest.raises(TrialError, match="the episode at row 4 has no step"):
        encode_trial(trial_of(steps=(3, 0), success=False))


def test_joints_and_velocities_are_of_one_arm():
    trial = trial_of()
    with pytest.raises(TrialError, match=r"joints \(7, 6\) and velocities \(7, 5\) differ in shape"):
        encode_trial(with_rows(trial, velocities=trial.rows["velocities"][:, :5].copy()))
    with pytest.raises(TrialError, match="image hold no numbers"):
        encode_trial(with_rows(trial, image=np.zeros((7, 0, 2, 3), np.uint8)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"robot": "../../etc"}, "trial id has robot='../../etc', expected"),
        ({"run": ""}, "trial id has run=''"),
        ({"run": "a\nb"}, r"trial id has run='a\\nb'"),
        ({"boot": 3}, "trial id has boot=3"),
        ({"counter": -1}, "trial id has counter=-1, expected a whole number from 0"),
        ({"counter": True}, "trial id has counter=True"),
        ({"counter": 2**31}, "trial id has counter=2147483648"),
    ],
)
def test_an_id_is_safe_as_a_file_name(changes, message):
    meta = meta_of()
    with pytest.raises(TrialError, match=message):
        encode_trial(
            dataclasses.replace(trial_of(), meta=dataclasses.replace(meta, id=dataclasses.replace(meta.id, **changes)))
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights_version": "4"}, "trial header has weights_version='4', expected int"),
        ({"simulated": 1}, "trial header has simulated=1, expected bool"),
        ({"aborted": None}, "trial header has aborted=None, expected str"),
        ({"task": {"id": "x"}}, "trial header names no task with a split"),
        ({"task": [1]}, "trial header names no task with a split"),
    ],
)
def test_a_header_has_its_types(changes, message):
    with pytest.raises(TrialError, match=message):
        encode_trial(dataclasses.replace(trial_of(), meta=meta_of(**changes)))


def test_pack_refuses_what_it_could_not_read():
    with pytest.raises(FormatError, match="weights array 'x' is complex64, which cannot be stored"):
        pack("weights", "", {"x": np.zeros(2, np.complex64)})


_ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.tuples(
        st.sampled_from(["f4", "f8", "i8", "i4", "i2", "i1", "u1", "?"]), st.lists(st.integers(0, 3), max_size=3)
    ),
    max_size=5,
)


@FUZZ
@given(shapes=_ARRAYS, meta=st.text(max_size=20))
def test_pack_and_unpack_are_inverse(shapes, meta):
    arrays = {n: np.arange(int(np.prod(s))).reshape(s).astype(d) for n, (d, s) in shapes.items()}
    text, read = unpack("x", pack("x", meta, arrays))
    assert text == meta
    assert {n: (a.dtype, a.tolist()) for n, a in read.items()} == {n: (a.dtype, a.tolist()) for n, a in arrays.items()}
