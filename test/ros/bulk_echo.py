"""A process that receives `weights` and `trials` and says on `trials/ack` what arrived."""

from __future__ import annotations

import hashlib
from typing import Any

from rclpy.node import Node

from meld_core.storage.chunks import Assembler
from meld_ros import conversions as msgs
from meld_ros.node_main import run_node


class BulkEcho(Node):
    """Digest and length of every whole message."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("bulk_echo", **kwargs)
        self.finished = False
        self._assembler = Assembler()
        self._answers = msgs.publisher(self, msgs.TRIALS_ACK)
        msgs.subscription(self, msgs.WEIGHTS, self._on_message)
        msgs.subscription(self, msgs.TRIALS, self._on_message)

    def _on_message(self, msg: Any) -> None:
        data = self._assembler.add(msgs.bytes_from_msg(msg))
        if data is not None:
            answer = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            self._answers.publish(msgs.json_to_msg(answer))

    def close(self) -> None:
        """Nothing to let go of."""


if __name__ == "__main__":
    run_node(BulkEcho)
