"""The byte format: only bytes that `pack` could have made are taken."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy

from meld_core.storage.tensor_file import FormatError, pack, unpack

ARRAYS = {"a": np.arange(3.0), "b": np.array([True, False]), "c": np.array([[1, 2]], np.int16)}
DATA = pack("trial", "{}", ARRAYS)


def rewritten(text: str) -> bytes:
    """The same arrays behind another text of the header, which any safetensors reader takes."""
    end = 8 + int.from_bytes(DATA[:8], "little")
    header = text.encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + DATA[end:]


HEADER = json.loads(DATA[8 : 8 + int.from_bytes(DATA[:8], "little")])


def compact(header: dict[str, object]) -> str:
    """As the library writes it."""
    return json.dumps(header, separators=(",", ":"))


def test_the_headers_below_differ_from_ours_in_nothing_but_what_they_say() -> None:
    assert rewritten(compact(HEADER)) == DATA
    assert unpack("trial", DATA)[0] == "{}"


@pytest.mark.parametrize(
    "text",
    [
        compact(dict(reversed(HEADER.items()))),
        json.dumps(HEADER),
        compact(HEADER) + " " * 8,
        compact({**HEADER, "__metadata__": {**HEADER["__metadata__"], "note": "x"}}),
    ],
    ids=["order of names", "spaces between", "spaces behind", "more metadata"],
)
def test_a_header_that_says_the_same_in_other_bytes_is_refused(text: str) -> None:
    """No digest covers the header's own bytes."""
    assert safetensors.numpy.load(rewritten(text)).keys() == ARRAYS.keys()
    with pytest.raises(FormatError, match="damaged header"):
        unpack("trial", rewritten(text))
