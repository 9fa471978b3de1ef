"""The byte format of trials, episodes and weights: safetensors, deterministic, every byte under a digest.

The layout is that of safetensors (8 bytes of header length, a JSON header, the arrays), so any safetensors reader
opens our files. It is written here, not by that library, for three reasons: the same content must give the same bytes
whatever the version of the library; the header must be covered by the digest, which therefore stands at a fixed
place in it; and arrays are read without a copy.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_PREFIX = b'{"__metadata__":{"sha256":"'
_DIGEST = slice(8 + len(_PREFIX), 8 + len(_PREFIX) + 64)
_MOST_DIMENSIONS = 8
_LARGEST_DIMENSION = 2**40


class FormatError(ValueError):
    """These bytes are not what they should be; the text is one clear sentence."""


def pack(kind: str, meta: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays and a text → bytes; a pure function of the contents, not of the order of `arrays`.

    Raises:
        FormatError: on an array whose dtype the format does not have.
    """
    header: dict[str, Any] = {"__metadata__": {"sha256": "0" * 64, "kind": kind, "meta": meta}}
    blocks, offset = [], 0
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):  # large items first: all stay aligned
        block, entry = _block(kind, name, arrays[name], offset)
        header[name], offset = entry, offset + len(block)
        blocks.append(block)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = bytearray(len(text).to_bytes(8, "little") + text)
    head[_DIGEST] = _digest([head[: _DIGEST.start], head[_DIGEST.stop :], *blocks])
    return b"".join([head, *blocks])


def _block(kind: str, name: str, array: np.ndarray, offset: int) -> tuple[bytes, dict[str, Any]]:
    little = array.dtype.newbyteorder("<")
    if little not in _NAMES:
        raise FormatError(f"{kind} array '{name}' is {array.dtype}, which cannot be stored (can: {', '.join(_DTYPES)})")
    block = array.astype(little, copy=False).tobytes()
    entry = {"dtype": _NAMES[little], "shape": list(array.shape), "data_offsets": [offset, offset + len(block)]}
    return block, entry


def _digest(parts: list[Any]) -> bytes:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest().encode()


def unpack(kind: str, data: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Inverse of `pack`: the text and read-only arrays that share memory with `data`.

    Raises:
        FormatError: unless `pack(kind, ...)` could have made exactly these bytes.
    """
    view = memoryview(data)
    if len(view) < _DIGEST.stop or bytes(view[8 : _DIGEST.start]) != _PREFIX:
        raise FormatError(f"{kind} data of {len(view)} bytes does not begin like a {kind} file")
    if bytes(view[_DIGEST]) != _digest([view[: _DIGEST.start], view[_DIGEST.stop :]]):
        raise FormatError(f"{kind} data of {len(view)} bytes does not match its sha256: it is damaged or cut off")
    start = 8 + int.from_bytes(view[:8], "little")
    header, body = _header(kind, view, start), view[start:]
    meta = header.pop("__metadata__")
    if meta["kind"] != kind:
        raise FormatError(f"this is a {meta['kind']!r} file, expected {kind!r}")
    arrays, offset = {}, 0
    for name, entry in header.items():
        arrays[name], offset = _array(f"{kind} array {name!a}", entry, body, offset)
    if offset != len(body):
        raise FormatError(f"{kind} data has {len(body) - offset} bytes after its last array")
    return meta["meta"], arrays


def _header(kind: str, view: memoryview, start: int) -> dict[str, Any]:
    """The parsed header; its metadata is known to hold the texts 'kind' and 'meta'."""
    try:
        header = json.loads(bytes(view[8:start])) if start <= len(view) else None
    except (ValueError, RecursionError):
        header = None
    meta = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(meta, dict) or not all(isinstance(meta.get(key), str) for key in ("kind", "meta")):
        raise FormatError(f"the header of this {kind} data is not readable")
    return dict(header or {})


def _array(label: str, entry: Any, body: memoryview, offset: int) -> tuple[np.ndarray, int]:
    """One array that must begin at `offset`, and the offset after it."""
    bad = FormatError(f"{label} has a wrong entry in the header: {str(entry)[:120]!a}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise bad
    shape, dtype_name = entry["shape"], entry["dtype"]
    if not isinstance(dtype_name, str) or dtype_name not in _DTYPES or not _is_shape(shape):
        raise bad
    dtype = np.dtype(_DTYPES[dtype_name])
    count = math.prod(shape)
    end = offset + count * dtype.itemsize
    if entry["data_offsets"] != [offset, end]:
        raise bad
    try:
        array = np.frombuffer(body, dtype, count, offset).reshape(shape) if count else np.empty(shape, dtype)
    except ValueError:
        raise bad from None
    if dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise FormatError(f"{label} holds a bool that is neither 0 nor 1")
    return array, end


def _is_shape(shape: Any) -> bool:
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS:
        return False
    return all(type(size) is int and 0 <= size <= _LARGEST_DIMENSION for size in shape)
