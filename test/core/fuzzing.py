"""Bad inputs for every parser: bytes with damage, files whose digests fit but whose contents do not, JSON gone wrong.

`MELD_FUZZ=5000` tries so many per parser (25 by default, always the same); `MELD_FUZZ_JSON=FILE` writes how many
were tried. What a parser may do: accept, or raise one of the errors that it names. Anything else fails.
"""

from __future__ import annotations

import atexit
import collections
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meld_core.storage.tensor_file import pack, unpack

EXAMPLES = int(os.environ.get("MELD_FUZZ", "25"))
fuzz_settings = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="MELD_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
tried: collections.Counter[str] = collections.Counter()
"""Bad inputs per parser."""
refused: collections.Counter[str] = collections.Counter()
"""Those of them that were refused; the others had no harm in them."""


def _report() -> None:
    path = os.environ.get("MELD_FUZZ_JSON", "")
    if path and tried:
        old = json.loads(Path(path).read_text()) if Path(path).is_file() else {}
        old |= {f"fuzz.{name}.tried": tried[name] for name in tried}
        old |= {f"fuzz.{name}.refused": refused[name] for name in tried}
        old["fuzz.tried"] = sum(count for name, count in old.items() if name.endswith(".tried") and name.count(".") > 1)
        Path(path).write_text(json.dumps(dict(sorted(old.items())), indent=1) + "\n")


atexit.register(_report)


def attempt(name: str, parse: Callable[[], object], *errors: type[Exception]) -> bool:
    """Try one bad input. Returns whether it was accepted; an error must be of a named kind and say something."""
    tried[name] += 1
    try:
        parse()
    except errors as error:
        assert type(error) in errors, f"{name}: {type(error).__name__} instead of {errors}"
        assert str(error).strip(), f"{name}: an error without a word"
        assert "\n" not in str(error).strip(), f"{name}: not one sentence: {error}"
        refused[name] += 1
        return False
    return True


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes of `data` flipped, cut off, moved, repeated or replaced; or something else altogether."""
    kind = draw(st.sampled_from(["flip", "flip", "head", "cut", "insert", "swap", "random", "length"]))
    buffer, n = bytearray(data), len(data)
    if kind in ("flip", "head"):
        for _ in range(draw(st.integers(1, 4))):
            buffer[draw(st.integers(0, min(n, 400) - 1 if kind == "head" else n - 1))] = draw(st.integers(0, 255))
    elif kind == "cut":
        del buffer[draw(st.integers(0, n)) :]
    elif kind == "insert":
        buffer[draw(st.integers(0, n)) : 0] = draw(st.binary(min_size=1, max_size=40))
    elif kind == "swap":
        one, other, size = draw(st.integers(0, n)), draw(st.integers(0, n)), draw(st.integers(1, 64))
        first, second = bytes(buffer[one : one + size]), bytes(buffer[other : other + size])
        buffer[one : one + size], buffer[other : other + size] = second, first
    elif kind == "length":  # a size that nobody has memory for
        buffer[:8] = draw(st.sampled_from([2**63, 2**40, 10**9, 0, n, n + 1])).to_bytes(8, "little")
    else:
        return draw(st.binary(max_size=200))
    return bytes(buffer)


ANY_NUMBER = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, 1, -1, 2**31, 2**63]),
)
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), ANY_NUMBER, st.text(max_size=12), st.sampled_from(["", "../x", "\x00", "\ud800", "é"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
NO_JSON = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "",
            "null",
            "[]",
            "{}",
            "[" * 100_000,
            '{"a":' * 100_000,
            "1" * 10_000,
            "NaN",
            "-Infinity",
            '"\\ud800"',
            "\ufeff{}",
        ]
    ),
)


@st.composite
def wrong(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one part of it replaced, taken away or added."""
    if isinstance(value, Mapping) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        what = draw(st.sampled_from(["inside", "inside", "inside", "remove", "add"]))
        if what == "inside":
            return {**value, key: draw(wrong(value[key]))}
        if what == "add":
            return {**value, draw(st.text(max_size=8)): draw(ANY_JSON)}
        return {name: part for name, part in value.items() if name != key}
    if isinstance(value, list) and value and draw(st.integers(0, 2)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], *draw(st.sampled_from([[], [draw(wrong(value[index]))]])), *value[index + 1 :]]
    return draw(ANY_JSON)


@st.composite
def wrong_json(draw: st.DrawFn, text: str) -> str:
    """A JSON text with a wrong value, or no JSON."""
    if not draw(st.integers(0, 3)):
        return draw(NO_JSON)
    return json.dumps(draw(wrong(json.loads(text))))


@st.composite
def wrong_tensors(draw: st.DrawFn, kind: str, data: bytes) -> bytes:
    """A file of ours that is whole (its digest fits), with arrays or a header that do not belong there."""
    text, read_only = unpack(kind, data)
    arrays = {name: array.copy() for name, array in read_only.items()}
    for _ in range(draw(st.integers(1, 2))):
        if not arrays:
            break
        name = draw(st.sampled_from(sorted(arrays)))
        arrays |= draw(_wrong_array(arrays, name))
        if draw(st.integers(0, 5)) == 0:
            arrays.pop(name, None)
    if draw(st.integers(0, 2)) == 0:
        text = draw(wrong_json(text))
    return pack(draw(st.sampled_from([kind] * 8 + ["trial", "weights", "x"])), text, arrays)


@st.composite
def _wrong_array(draw: st.DrawFn, arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    array = arrays[name]
    what = draw(st.sampled_from(["number", "number", "number", "type", "shape", "swap", "empty", "scalar", "more"]))
    if what == "number" and array.size:
        values = [0, 1, -1, 2, 255] if array.dtype.kind in "biu" else [np.nan, np.inf, -np.inf, 0.0, 1.5, -2.0, 1e38]
        flat = array.reshape(-1).copy()
        flat[draw(st.integers(0, array.size - 1))] = np.array(draw(st.sampled_from(values))).astype(array.dtype)
        return {name: flat.reshape(array.shape)}
    if what == "type":
        return {name: array.astype(draw(st.sampled_from(["float64", "float32", "int8", "uint8", "bool", "int64"])))}
    if what == "swap":
        other = draw(st.sampled_from(sorted(arrays)))
        return {name: arrays[other], other: array}
    if what == "empty":
        return {name: array[:0] if array.ndim else array}
    if what == "scalar":
        return {name: np.array(1, array.dtype)}
    if what == "more":
        return {draw(st.sampled_from(["truth/", "x", "truth/x", "../x", "é"])): array}
    return {name: array.reshape(-1)} if array.ndim > 1 else {name: array[..., None]}


def fuzz(test: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> Callable[[], None]:
    """A hypothesis test with this module's settings."""
    return fuzz_settings(given(**strategies)(test))
