"""Pieces of large messages: any order, any repetition, no damage."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meld_core.storage.chunks import CHUNK_SIZE, LARGEST_MESSAGE, WHOLE_LIMIT, Assembler, ChunkError, split_message

FUZZ = settings(max_examples=200, deadline=None, derandomize=True)
MESSAGES = st.binary(min_size=1, max_size=200)


def pieces_of(data: bytes, size: int = 7) -> list[bytes]:
    return split_message(data, whole=0, size=size)


def completed(assembler: Assembler, pieces) -> list[bytes]:
    return [message for piece in pieces if (message := assembler.add(piece)) is not None]


def test_small_messages_travel_as_they_are():
    data = bytes(WHOLE_LIMIT)
    assert split_message(data) == [data]
    assert Assembler().add(b"small") == b"small"
    assert split_message(b"") == [b""]
    assert Assembler().add(b"") == b""


def test_a_large_message_becomes_pieces_of_1_mb():
    data = random.Random(1).randbytes(WHOLE_LIMIT + 1)
    pieces = split_message(data)
    assert len(pieces) == 9
    assert {len(piece) - CHUNK_SIZE for piece in pieces[:-1]} == {64}
    assert len(pieces[-1]) == 1 + 64
    assert completed(Assembler(), pieces) == [data]


@FUZZ
@given(data=MESSAGES, size=st.integers(1, 50), seed=st.integers(0, 99), repeats=st.integers(1, 3))
def test_any_order_and_repetition_gives_the_message_once(data, size, seed, repeats):
    pieces = pieces_of(data, size) * repeats
    random.Random(seed).shuffle(pieces)
    assert completed(Assembler(), pieces) == [data]


@FUZZ
@given(one=MESSAGES, other=MESSAGES, seed=st.integers(0, 99))
def test_two_messages_may_be_mixed(one, other, seed):
    pieces = pieces_of(one) + (pieces_of(other) if other != one else [])
    random.Random(seed).shuffle(pieces)
    assert sorted(completed(Assembler(), pieces)) == sorted({one, other})


@FUZZ
@given(data=MESSAGES, size=st.integers(1, 50), lost=st.integers(0, 199))
def test_a_lost_piece_gives_nothing_until_it_is_sent_again(data, size, lost):
    pieces, assembler = pieces_of(data, size), Assembler()
    lost %= len(pieces)
    assert completed(assembler, pieces[:lost] + pieces[lost + 1 :]) == []
    assert assembler.unfinished == (len(pieces) > 1)
    assert completed(assembler, pieces) == [data]
    assert assembler.unfinished == 0


def test_every_flipped_byte_is_seen_and_harmless():
    """Without its magic a piece is no piece: it passes as a whole message, which its reader refuses by its digest."""
    data, assembler = bytes(range(20)), Assembler()
    good, bad = pieces_of(data)[0], pieces_of(data)[1]
    assembler.add(good)
    for place in range(len(bad)):
        flipped = bytearray(bad)
        flipped[place] ^= 1 + place % 255
        if place < 8:
            assert assembler.add(bytes(flipped)) == flipped
        else:
            with pytest.raises(ChunkError, match="does not match its checksum: it is damaged or cut off"):
                assembler.add(bytes(flipped))
    assert completed(assembler, pieces_of(data)) == [data]


def test_every_truncation_of_a_piece_is_seen():
    piece = pieces_of(bytes(range(20)))[0]
    for length in range(8, len(piece)):
        with pytest.raises(ChunkError):
            Assembler().add(piece[:length])


@FUZZ
@given(data=st.binary(max_size=100))
def test_no_bytes_break_the_assembler(data):
    with pytest.raises(ChunkError):
        Assembler().add(b"MELDpart" + data)
    if not data.startswith(b"MELDpart"):
        assert Assembler().add(data) == data


def test_a_message_that_begins_like_a_piece_is_not_mistaken_for_one():
    data = b"MELDpart, a message"
    assert split_message(data) != [data]
    assert completed(Assembler(), split_message(data)) == [data]


def test_memory_is_bounded():
    assembler = Assembler(messages=2)
    messages = [bytes([k]) * 20 for k in range(5)]
    for message in messages:
        assembler.add(pieces_of(message)[0])
    assert assembler.unfinished == 2
    assert completed(assembler, pieces_of(messages[4])[1:]) == [messages[4]]
    assert completed(assembler, pieces_of(messages[0])[1:]) == [], "its first piece gave way"


def test_a_message_beyond_the_limit_is_refused():
    with pytest.raises(ChunkError, match="announces a message of 20 bytes in pieces of 7, at most 19"):
        Assembler(limit=19).add(pieces_of(bytes(20))[0])
    assert completed(Assembler(limit=20), pieces_of(bytes(20))) == [bytes(20)]
    with pytest.raises(ChunkError, match=f"a message of {LARGEST_MESSAGE + 1} bytes is larger than {LARGEST_MESSAGE}"):
        split_message(bytes(LARGEST_MESSAGE + 1))


def test_late_repetitions_of_a_finished_message_start_nothing():
    assembler, pieces = Assembler(), pieces_of(bytes(range(20)))
    assert completed(assembler, pieces) == [bytes(range(20))]
    assert completed(assembler, pieces) == []
    assert assembler.unfinished == 0
