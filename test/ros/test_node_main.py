"""How a node runs: what every node is given before it serves anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"

QUICK = """
import gc
from rclpy.node import Node
from meld_ros.node_main import run_node

class Quick(Node):
    finished = True
    def __init__(self):
        super().__init__("quick")
    def close(self):
        pass

def serve(node):
    print(gc.get_freeze_count(), len(gc.get_objects()))

run_node(Quick, [], serve)
"""


def test_a_collection_of_garbage_does_not_look_at_every_imported_module() -> None:
    """While it does, for 50 to 100 ms, no thread of the process runs."""
    done = subprocess.run(
        [sys.executable, "-c", QUICK],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    frozen, looked_at = map(int, done.stdout.split())
    assert frozen > 10_000
    assert looked_at < 1_000
