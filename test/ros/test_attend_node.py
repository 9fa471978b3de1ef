"""attend: a confirmation is answered, taken or not; who waits for the answer never waits for ever."""

from __future__ import annotations

from typing import Any

import pytest

from meld_ros import conversions as msgs
from meld_ros.attend_node import AttendNode

from .conftest import Ros


@pytest.mark.parametrize("taken", [True, False])
def test_a_confirmation_is_answered_whether_it_was_taken_or_refused(ros: Ros, taken: bool) -> None:
    said: list[str] = []
    bench = ros.probe()

    def answer(_: Any, response: Any) -> Any:
        response.success, response.message = taken, "the cable is in port 2"
        return response

    bench.create_service(msgs.SERVICE, msgs.NEXT_TASK, answer)
    node = ros.node(AttendNode, said.append)
    ros.until(node._next_task.service_is_ready, "the service")
    node._waits_for = f"a person: {msgs.NEXT_TASK}"
    node.confirm()
    assert not node.answered.is_set()
    ros.until(node.answered.is_set, "the answer")
    assert node.confirmed == int(taken)
    assert said == ["told" if taken else "refused: the cable is in port 2"]
