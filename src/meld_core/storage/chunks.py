"""Large messages in small pieces: splitting, and putting together whatever order or repetition they arrive in.

A piece is a fixed header (magic, sha256 of the whole message, its length, index and number of this piece, crc32 of
all that and of the payload) and a payload. A message of up to 8 MB travels as it is.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import OrderedDict, deque

WHOLE_LIMIT = 8_000_000
"""Messages up to this size are not split [bytes]."""
CHUNK_SIZE = 1_000_000
"""Payload of one piece [bytes]."""
LARGEST_MESSAGE = 1_000_000_000
"""A piece that announces a longer message is refused [bytes]."""

_MAGIC = b"MELDpart"  # as the header length of a safetensors file this is 10^18: no message begins so by itself
_HEADER = struct.Struct("<8s32sQIII")
_CRC = struct.Struct("<I")


class ChunkError(ValueError):
    """This piece is damaged or contradicts itself; the text is one clear sentence."""


def split_message(data: bytes, *, whole: int = WHOLE_LIMIT, size: int = CHUNK_SIZE) -> list[bytes]:
    """The message itself if it has at most `whole` bytes, else pieces with `size` bytes of payload each.

    Raises:
        ChunkError: on a message that is larger than any receiver accepts.
    """
    if len(data) > LARGEST_MESSAGE:
        raise ChunkError(f"a message of {len(data)} bytes is larger than {LARGEST_MESSAGE}")
    if len(data) <= whole and not data.startswith(_MAGIC):
        return [data]
    digest, count = hashlib.sha256(data).digest(), -(-len(data) // size)
    return [_piece(digest, len(data), size, index, data[index * size : (index + 1) * size]) for index in range(count)]


def count_pieces(length: int, *, whole: int = WHOLE_LIMIT, size: int = CHUNK_SIZE) -> int:
    """In how many messages `split_message` sends so many bytes."""
    return 1 if length <= whole else -(-length // size)


def _piece(digest: bytes, total: int, size: int, index: int, payload: bytes) -> bytes:
    header = _HEADER.pack(_MAGIC, digest, total, size, index, len(payload))
    return header + _CRC.pack(zlib.crc32(payload, zlib.crc32(header))) + payload


class Assembler:
    """Puts pieces together; holds at most `messages` unfinished messages, the one touched longest ago gives way."""

    def __init__(self, *, messages: int = 2, limit: int = LARGEST_MESSAGE) -> None:
        self._most, self._limit = messages, limit
        self._parts: OrderedDict[bytes, dict[int, bytes]] = OrderedDict()
        self._finished: deque[bytes] = deque(maxlen=messages)

    @property
    def unfinished(self) -> int:
        """Messages of which pieces are missing."""
        return len(self._parts)

    def add(self, data: bytes) -> bytes | None:
        """A whole message at once, or the message that this piece completes; None while pieces are missing.

        Pieces of a message that was completed a moment ago are repetitions: None.

        Raises:
            ChunkError: on a damaged piece; what was gathered before is kept.
        """
        if not data.startswith(_MAGIC):
            return data
        key, index, count, payload = self._read(data)
        if key in self._finished:
            return None
        parts = self._parts.setdefault(key, {})
        self._parts.move_to_end(key)
        parts[index] = payload
        if len(parts) == count:
            return self._finish(key)
        while len(self._parts) > self._most:
            self._parts.popitem(last=False)
        return None

    def _read(self, data: bytes) -> tuple[bytes, int, int, bytes]:
        start = _HEADER.size + _CRC.size
        if len(data) < start:
            raise ChunkError(f"a piece of {len(data)} bytes is shorter than its header of {start}")
        payload = data[start:]
        (crc,) = _CRC.unpack_from(data, _HEADER.size)
        if crc != zlib.crc32(payload, zlib.crc32(data[: _HEADER.size])):
            raise ChunkError(f"a piece of {len(data)} bytes does not match its checksum: it is damaged or cut off")
        _, _, total, size, index, length = _HEADER.unpack_from(data)
        if not 0 < total <= self._limit or size == 0:
            raise ChunkError(f"a piece announces a message of {total} bytes in pieces of {size}, at most {self._limit}")
        expected = min(size, total - index * size)
        if expected <= 0 or length != expected or len(payload) != expected:
            raise ChunkError(f"piece {index} of a message of {total} bytes has {length} bytes, expected {expected}")
        return data[: _HEADER.size - 8], index, -(-total // size), payload  # equal up to the index: one message

    def _finish(self, key: bytes) -> bytes:
        parts = self._parts.pop(key)
        message = b"".join(parts[index] for index in sorted(parts))
        if hashlib.sha256(message).digest() != key[len(_MAGIC) : len(_MAGIC) + 32]:
            raise ChunkError(f"a message of {len(message)} bytes does not match its sha256; it is dropped")
        self._finished.append(key)
        return message
