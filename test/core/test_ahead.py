"""Work made ready for a GPU while it is busy. The thread needs none: only the name of the device decides."""

from __future__ import annotations

import threading

import pytest
import torch

from meld_core.ahead import made_ahead, to_device

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("device", [CPU, GPU])
def test_items_come_in_order_and_no_more_than_asked_for(device: torch.device) -> None:
    numbers = iter(range(100))
    assert list(made_ahead(lambda: next(numbers), 5, device)) == [0, 1, 2, 3, 4]
    assert next(numbers) == 5
    assert list(made_ahead(lambda: next(numbers), 0, device)) == []
    assert next(numbers) == 6


def test_for_a_gpu_the_next_one_is_made_while_the_last_is_worked_on() -> None:
    """The second is made although nobody asks for it yet; the third not before somebody does."""
    made, second = [], threading.Event()

    def make() -> int:
        made.append(threading.current_thread().name)
        if len(made) == 2:
            second.set()
        return len(made)

    items = made_ahead(make, 3, GPU)
    assert next(items) == 1
    assert second.wait(10.0)
    assert len(made) == 2
    assert [next(items), next(items)] == [2, 3]
    assert all(name.startswith("ahead") for name in made)


def test_on_a_cpu_nothing_is_made_before_it_is_asked_for() -> None:
    made: list[int] = []
    items = made_ahead(lambda: made.append(1), 3, CPU)
    next(items)
    assert made == [1]


def test_what_fails_while_it_is_made_fails_where_it_is_asked_for() -> None:
    def make() -> int:
        raise ValueError("no trials")

    with pytest.raises(ValueError, match="no trials"):
        next(made_ahead(make, 2, GPU))


def test_on_a_cpu_a_tensor_is_where_it_is() -> None:
    tensor = torch.zeros(3)
    assert to_device(tensor, CPU) is tensor
