"""A ROS domain and context of its own for each test, nodes in this process, and nodes as real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
import torch
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from meld_core.config import Config, load_config
from meld_core.storage.run_folder import RunFolder
from meld_ros.domain import own_domain
from meld_ros.graph import GRAPHS, Options, parameters_of
from meld_ros.network import network_environment
from meld_ros.node_main import Background

DEADLINE = 60.0
"""Generous: a busy machine of two cores must not fail a test [s]."""
Process = subprocess.Popen[str]
ROOT = Path(__file__).resolve().parents[2]


class Ros:
    """What a test needs of ROS. Everything that it made is gone when the test ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self._nodes: list[Any] = []
        self._processes: list[Process] = []
        self.mortal: set[int] = set()
        """Processes whose death is what a test waits for."""
        self._apart: list[tuple[Any, Background, Any]] = []

    def probe(self) -> Node:
        """A plain node of the test."""
        made = Node(f"probe{len(self._nodes)}", context=self.context, use_global_arguments=False, enable_rosout=False)
        self._nodes.append(made)
        self.executor.add_node(made)
        return made

    def node(self, make: Callable[..., Any], *arguments: Any, **parameters: Any) -> Any:
        """A node in this process; parameters by their flat names."""
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = make(*arguments, context=self.context, parameter_overrides=overrides, use_global_arguments=False)
        self._nodes.append(node)
        self.executor.add_node(node)
        return node

    def node_apart(self, make: Callable[..., Any], **parameters: Any) -> Any:
        """A node with a DDS participant and a thread of its own: within one participant Fast DDS renews no lease."""
        context = rclpy.Context()
        rclpy.init(context=context)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = make(context=context, parameter_overrides=overrides, use_global_arguments=False)
        background = Background(node, "apart")
        background.start()
        self._apart.append((context, background, node))
        return node

    def start(
        self, module: str, parameters: dict[str, Any] | None = None, name: str = "", namespace: str = ""
    ) -> Process:
        """A node (or a script) as a process of its own; its output is piped."""
        path = self.folder / f"{name or Path(module).stem}-{len(self._processes)}.yaml"
        path.write_text(json.dumps({"/**": {"ros__parameters": parameters or {}}}), encoding="utf-8")
        what = [module] if module.endswith(".py") else ["-m", module]
        remaps = ["-r", f"__ns:={namespace}"] if namespace else []
        process = subprocess.Popen(
            [sys.executable, *what, "--ros-args", *remaps, "--params-file", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._processes.append(process)
        return process

    def adopt(self, process: Process) -> Process:
        """A process that ends with the test at the latest; that it ends sooner is no fault."""
        self._processes.append(process)
        self.mortal.add(process.pid)
        return process

    def start_graph(self, mode: str, config: Config, folder: RunFolder, *names: str) -> dict[str, Process]:
        """Nodes of a graph as processes, with the parameters that the graph gives them."""
        options = Options(folder=folder.path)
        specs = [spec for spec in GRAPHS[mode] if spec.name in names]
        return {
            spec.name: self.start(f"meld_ros.{spec.executable}", parameters_of(spec, mode, config, options), spec.name)
            for spec in specs
        }

    def until(self, condition: Callable[[], Any], what: str = "", patience: float = DEADLINE) -> float:
        """Serve callbacks until a condition holds, at most for `patience`. Returns the seconds that it took."""
        began = time.monotonic()
        while not condition():
            dead = [p for p in self._processes if p.poll() not in (None, 0, -9) and p.pid not in self.mortal]
            ended = {p.args[2]: p.stdout.read() for p in dead if p.stdout}
            assert not ended, f"while waiting for {what or condition}: {ended}"
            assert time.monotonic() - began < patience, f"still waiting for {what or condition} after {patience} s"
            self.executor.spin_once(timeout_sec=0.05)
        return time.monotonic() - began

    def close(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            with contextlib.suppress(ValueError):  # its output was read to the end already
                process.communicate()
        for context, background, node in self._apart:
            background.close()
            node.close()
            node.destroy_node()
            context.try_shutdown()
        for node in self._nodes:
            getattr(node, "close", lambda: None)()
        self.executor.shutdown()
        for node in self._nodes:
            node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No other test and no other graph of this machine is heard."""
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    for name, value in network_environment("", {}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros_log"))
    with own_domain() as number:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        yield


@pytest.fixture
def ros(domain: None, tmp_path: Path) -> Iterator[Ros]:
    """ROS on a domain of this test."""
    made = Ros(tmp_path)
    yield made
    made.close()


@pytest.fixture
def single_thread() -> Iterator[None]:
    """As in the graph's policy: sums in another order are other numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small() -> Config:
    """The smallest system: two scripted trials of two episodes of six steps."""
    return load_config([ROOT / "config" / "smoke.yaml"], ["train.trials=2", "train.demonstrations=2"])


@pytest.fixture
def run(tmp_path: Path, small: Config) -> RunFolder:
    """A fresh run folder for `small`."""
    return RunFolder(tmp_path / "run").create(small)
