"""Steps per second of the lockstep graph over DDS, without a learner: robot, reward and policy in a process each.

    python benchmarks/ros_lockstep.py [--trials 8] [--config FILE]

The policy acts on beliefs with untrained weights; the clock runs between the first and the last closed trial.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from meld_core.config import load_config
from meld_core.learner import Learner
from meld_core.storage.run_folder import RunFolder
from meld_core.weights import save_weights
from meld_ros import conversions as ros
from meld_ros.domain import own_domain
from meld_ros.graph import Options, environment, render
from meld_ros.supervisor import Supervisor


class NoTrials:
    """A replay that holds nothing."""

    trials = ()


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--config", type=Path, action="append", default=[])
    given = parser.parse_args()
    config = load_config(given.config, [f"eval.trials={given.trials}"])
    with tempfile.TemporaryDirectory() as name, own_domain() as domain:
        folder = RunFolder(Path(name) / "bench").create(config)
        save_weights(folder.weights, Learner(config, NoTrials(), folder.name).weights())
        env = environment(folder.path, domain)
        os.environ.update(env)
        closed: list[tuple[float, int]] = []
        rclpy.init()
        node = Node("bench")

        def on_event(msg: object) -> None:
            event = json.loads(msg.data)
            if event["event"] == "closed":
                closed.append((time.perf_counter(), event["rows"] - config.task.episodes))

        ros.subscription(node, ros.TRIAL_EVENTS, on_event)
        thread = threading.Thread(target=_spin, args=(node,), daemon=True)
        thread.start()
        outcome = Supervisor(
            render("eval", config, Options(folder=folder.path)), env, folder.path / "logs", quiet=True
        ).run()
        rclpy.shutdown()
        thread.join()
    steps, seconds = sum(count for _, count in closed[1:]), closed[-1][0] - closed[0][0]
    print(f"{outcome.reason}: {steps} steps in {seconds:.2f} s: {steps / seconds:.1f} steps/s")


def _spin(node: Node) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()


if __name__ == "__main__":
    main()
