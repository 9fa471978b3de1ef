"""A lossy relay between two ROS domains of this machine: `python relay.py ARM TRAINER`.

Carries `trials` one way, `trials/ack` and `weights` the other, as told on stdin, line by line:
{"loss": 0.1, "delay": 0.2, "cut": false}. What it drops is gone: DDS has delivered it to the relay.
"""

from __future__ import annotations

import collections
import json
import os
import random
import select
import sys
import time
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from meld_ros import conversions as msgs

_WAY = ((msgs.TRIALS, 0, 1), (msgs.TRIALS_ACK, 1, 0), (msgs.WEIGHTS, 1, 0))


def main(domains: list[int]) -> None:
    """See the module."""
    contexts = [rclpy.Context() for _ in domains]
    for context, domain in zip(contexts, domains, strict=True):
        rclpy.init(context=context, domain_id=domain)
    nodes = [Node("relay", context=context) for context in contexts]
    executors = [SingleThreadedExecutor(context=context) for context in contexts]
    for executor, node in zip(executors, nodes, strict=True):
        executor.add_node(node)
    rng, settings = random.Random(0), {"loss": 0.0, "delay": 0.0, "cut": False}
    way: collections.deque[tuple[float, Any, Any]] = collections.deque()

    def carry(publisher: Any) -> Any:
        def on_message(msg: Any) -> None:
            if not settings["cut"] and rng.random() >= settings["loss"]:
                way.append((time.monotonic() + settings["delay"], publisher, msg))

        return on_message

    for topic, source, target in _WAY:
        publisher = msgs.publisher(nodes[target], topic)
        msgs.subscription(nodes[source], topic, carry(publisher))
    print("ready", flush=True)
    while True:
        for executor in executors:
            executor.spin_once(timeout_sec=0.02)
        while way and way[0][0] <= time.monotonic():
            _, publisher, msg = way.popleft()
            publisher.publish(msg)
        if select.select([0], [], [], 0)[0]:
            line = os.read(0, 4096)
            if not line:
                return
            settings |= json.loads(line.splitlines()[-1])


if __name__ == "__main__":
    main([int(domain) for domain in sys.argv[1:]])
