"""The byte format of trials, episodes, weights and checkpoints: safetensors with every byte under a digest.

Any safetensors reader opens our files. The same contents give the same bytes (one version of the library, pinned in
constraints.txt), and `unpack` accepts only bytes that `pack` could have made.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

_KEY = "meld"
"""The one metadata entry: the library does not promise an order for several."""


class FormatError(ValueError):
    """These bytes are not what they should be; the text is one clear sentence."""


def pack(kind: str, meta: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays and a text → bytes; a pure function of the contents, not of the order of `arrays`.

    Raises:
        FormatError: on an array whose dtype the format does not have.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise FormatError(
                f"{kind} array '{name}' is {array.dtype}, which cannot be stored (can: bool, int, uint, float)"
            )
    whole = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in sorted(arrays.items())}
    return _save({"kind": kind, "meta": meta, "sha256": _digest(kind, meta, whole)}, whole)


def _save(entry: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> bytes:
    return save(dict(sorted(arrays.items())), metadata={_KEY: json.dumps(entry, sort_keys=True)})


def _digest(kind: str, meta: str, arrays: Mapping[str, np.ndarray]) -> str:
    sha = hashlib.sha256(json.dumps([kind, meta]).encode())
    for name, array in sorted(arrays.items()):
        sha.update(_described(name, array.dtype.str, array.shape))
        sha.update(array.data if array.size else b"")
    return sha.hexdigest()


@functools.lru_cache(maxsize=4096)
def _described(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    return json.dumps([name, dtype, shape]).encode()


def unpack(kind: str, data: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Inverse of `pack`: the text and read-only arrays.

    Raises:
        FormatError: unless `pack(kind, ...)` could have made exactly these bytes.
    """
    entry = _entry(kind, data)
    try:
        arrays = load(data)
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise FormatError(f"{kind} data of {len(data)} bytes is damaged or cut off: {error}") from None
    if entry["sha256"] != _digest(entry["kind"], entry["meta"], arrays):
        raise FormatError(f"{kind} data of {len(data)} bytes does not match its sha256: it is damaged or cut off")
    if entry["kind"] != kind:
        raise FormatError(f"this is a {entry['kind']!r} file, expected {kind!r}")
    header = _header({name: entry[name] for name in ("kind", "meta", "sha256")}, arrays)
    if data[: len(header)] != header:  # what no digest covers
        raise FormatError(f"{kind} data of {len(data)} bytes has a damaged header")
    for name, array in arrays.items():
        if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
            raise FormatError(f"{kind} array '{name}' holds a bool that is neither 0 nor 1")
        array.setflags(write=False)
    return entry["meta"], arrays


def _header(entry: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> bytes:
    """What `_save` writes before the arrays: a length, and JSON that spaces fill up to whole eights."""
    layout = tuple((name, array.dtype.str, array.shape) for name, array in sorted(arrays.items()))
    text = json.dumps({_KEY: json.dumps(entry, sort_keys=True)}, separators=(",", ":"))
    whole = b'{"__metadata__":' + text.encode() + _places(layout)
    whole += b" " * (-len(whole) % 8)
    return len(whole).to_bytes(8, "little") + whole


@functools.lru_cache(maxsize=256)
def _places(layout: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bytes:
    """The library's own header of arrays of these names, types and shapes, from behind its metadata on.

    Asked once per layout: writing all arrays again would take as long as their digest.
    """
    arrays = {name: np.zeros(shape, dtype) for name, dtype, shape in layout}
    data, before = save(arrays, metadata={_KEY: ""}), b'{"__metadata__":{"' + _KEY.encode() + b'":""}'
    header = data[8 : 8 + int.from_bytes(data[:8], "little")].rstrip(b" ")
    return header.removeprefix(before)


def _entry(kind: str, data: bytes) -> dict[str, str]:
    """Our metadata entry; the library reads metadata from files only, the header is a length and JSON."""
    try:
        header = json.loads(bytes(data[8 : 8 + int.from_bytes(data[:8], "little")]))
        entry = json.loads(header["__metadata__"][_KEY])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        entry = None
    if not isinstance(entry, dict) or not all(isinstance(entry.get(k), str) for k in ("kind", "meta", "sha256")):
        raise FormatError(f"{kind} data of {len(data)} bytes does not begin like a {kind} file")
    return entry
