"""The supervisor with stand-in nodes: how it stops, what it says when a node dies, and that no process is left."""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from meld_core.storage.run_folder import RunFolder
from meld_ros import supervisor
from meld_ros.commands.training import run_graph
from meld_ros.domain import own_domain
from meld_ros.graph import environment
from meld_ros.supervisor import describe_exit
from test.ros.stand_in_graph import stand_in

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
DEADLINE = 30.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Look again until the condition holds; fails after DEADLINE."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if value := condition():
            return value
        select.select([], [], [], 0.02)
    raise AssertionError(f"not within {DEADLINE} s: {what}")


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Graph:
    """Stand-in nodes under a supervisor in its own process."""

    def __init__(self, folder: Path, *nodes: dict[str, Any]) -> None:
        self.folder, self.names = folder, [node["name"] for node in nodes]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "stand_in_graph.py"), str(folder), json.dumps(nodes)],
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def pids(self) -> dict[str, int]:
        """Process ids of all nodes, once each is ready."""
        wait_for(lambda: all(re.search(r"ready \d+\n", self.log(name)) for name in self.names), "all nodes are ready")
        return {name: int(re.findall(r"ready (\d+)", self.log(name))[0]) for name in self.names}

    def end(self) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        out, err = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, out, err


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Callable[..., Graph]]:
    """Starts graphs; kills what a failed test leaves."""
    started: list[Graph] = []

    def start(*nodes: dict[str, Any]) -> Graph:
        started.append(Graph(tmp_path, *nodes))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


POLICY = {"name": "policy", "code": "obey()", "stop_rank": 0, "ends_graph": True}
ROBOT = {"name": "robot", "code": "obey()", "stop_rank": 1}
TRAINER = {"name": "trainer", "code": "obey()", "stop_rank": 2}


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_stops_all_in_order_with_exit_code_0(graph: Callable[..., Graph], asked: signal.Signals) -> None:
    running = graph(ROBOT, TRAINER, POLICY)
    pids = running.pids()
    running.process.send_signal(asked)
    code, out, _ = running.end()
    assert (code, out) == (0, "outcome: stopped as asked\n")
    assert not any(alive(pid) for pid in pids.values())
    moments = [
        float(re.findall(r"asked to stop (\S+)", running.log(name))[0]) for name in ("policy", "robot", "trainer")
    ]
    assert moments == sorted(moments)


def test_says_which_node_died_and_stops_the_rest(graph: Callable[..., Graph]) -> None:
    running = graph(ROBOT, TRAINER, POLICY)
    pids = running.pids()
    os.kill(pids["trainer"], signal.SIGKILL)
    code, out, _ = running.end()
    assert code == 1
    assert "node 'trainer' was killed by SIGKILL; everything else was stopped" in out
    assert "asked to stop" in running.log("robot")
    assert not any(alive(pid) for pid in pids.values())


def test_starts_a_data_node_again_as_often_as_allowed(graph: Callable[..., Graph]) -> None:
    """Two deaths are mended, the third ends the graph; nobody else notices the first two."""
    running = graph(ROBOT, TRAINER | {"code": "print('pid', os.getpid()); obey()", "restarts": 2}, POLICY)
    pids = running.pids()

    def started(times: int) -> list[str]:
        found = re.findall(r"pid (\d+)\n", running.log("trainer"))
        return found if len(found) == times else []

    for times in (1, 2, 3):
        newest = wait_for(partial(started, times), "a trainer")[-1]
        assert alive(pids["robot"])
        os.kill(int(newest), signal.SIGKILL)
    code, out, err = running.end()
    assert code == 1
    assert "node 'trainer' was killed by SIGKILL; started again (2 of at most 2 times)" in err
    assert "node 'trainer' was killed by SIGKILL; everything else was stopped" in out
    assert running.log("robot").count("asked to stop") == 1


def test_a_node_that_refused_what_it_was_given_is_not_started_again(graph: Callable[..., Graph]) -> None:
    running = graph(POLICY, {"name": "trainer", "code": "ready(); sys.exit(2)", "restarts": 2})
    code, _, err = running.end()
    assert code == 2
    assert "started again" not in err


@pytest.mark.parametrize(("given", "expected"), [(3, 1), (2, 2), (0, 1)])
def test_a_node_that_ends_by_itself_ends_the_graph(graph: Callable[..., Graph], given: int, expected: int) -> None:
    """Exit code 2 is a node's refusal of what a person gave it and is passed on; a robot must not end at all."""
    running = graph(POLICY, {"name": "robot", "code": f"ready(); print('last words'); sys.exit({given})"})
    code, out, err = running.end()
    assert code == expected
    assert f"node 'robot' ended with exit code {given}" in out
    assert "[robot] last words" in err


def test_the_graph_ends_well_when_the_policy_does(graph: Callable[..., Graph]) -> None:
    running = graph(ROBOT, {"name": "policy", "code": "ready()", "ends_graph": True})
    code, out, _ = running.end()
    assert (code, out) == (0, "outcome: finished\n")
    assert "asked to stop" in running.log("robot") or "ready" not in running.log("robot")


def test_a_policy_killed_between_two_looks_at_it_is_not_a_good_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found alive among all nodes, dead a microsecond later among those that end the graph: the even looks."""
    look, looks, killed = supervisor._Child.ended, itertools.count(1), list[int]()

    def killed_once_looked_at(child: Any) -> bool:
        ended = look(child)
        if next(looks) % 2 and not killed and b"ready" in (tmp_path / "policy.log").read_bytes():
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return ended

    monkeypatch.setattr(supervisor._Child, "ended", killed_once_looked_at)
    outcome = supervisor.Supervisor([stand_in(**POLICY)], dict(os.environ), tmp_path).run()
    assert killed
    assert (outcome.code, outcome.finished) == (1, False)
    assert "node 'policy' was killed by SIGKILL" in outcome.reason


@pytest.mark.parametrize("complete", [False, True])
def test_a_training_is_finished_when_the_trainer_says_so(tmp_path: Path, *, complete: bool) -> None:
    """A policy that somebody sent SIGTERM ends with exit code 0, as one does that has collected its last trial."""
    folder = RunFolder(tmp_path)
    if complete:
        folder.training.write_text("{}")
    policy = stand_in(**(POLICY | {"code": "ready()"}))
    outcome, ids = run_graph([stand_in(**TRAINER), policy], folder, quiet=True)
    assert (outcome.code, outcome.finished) == ((0, True) if complete else (1, False))
    assert outcome.reason == (
        "finished" if complete else "node 'policy' was told to stop before the training was complete"
    )
    assert set(ids) == {"policy", "trainer"}


def test_a_node_that_does_not_end_is_killed_with_what_it_started(graph: Callable[..., Graph]) -> None:
    own_child = "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])"
    code = f"{own_child}; print('child', child.pid); resist()"
    running = graph(POLICY, {"name": "stubborn", "code": code, "stop_timeout": 0.3})
    pids = running.pids()
    child = int(re.findall(r"child (\d+)", running.log("stubborn"))[0])
    running.process.send_signal(signal.SIGINT)
    exit_code, _, err = running.end()
    assert exit_code == 0
    assert "node 'stubborn' did not end in time and was killed" in err
    wait_for(lambda: not alive(child), "the node's own child is gone")
    assert not any(alive(pid) for pid in pids.values())


def test_a_second_request_shortens_the_wait(graph: Callable[..., Graph]) -> None:
    """Without it this test would run into its deadline: the node may take ten minutes."""
    running = graph(POLICY, {"name": "stubborn", "code": "resist()", "stop_timeout": 600.0})
    pids = running.pids()
    running.process.send_signal(signal.SIGINT)
    wait_for(lambda: "asked to stop" in running.log("policy"), "stopping has begun")
    running.process.send_signal(signal.SIGINT)
    assert running.end()[0] == 0
    assert not any(alive(pid) for pid in pids.values())


def test_two_requests_at_once_are_no_traceback(graph: Callable[..., Graph]) -> None:
    running = graph(ROBOT, TRAINER, POLICY)
    running.pids()
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGTERM)
    code, _, err = running.end()
    assert code == 0
    assert "Traceback" not in err


def test_no_orphan_when_the_supervisor_is_killed(graph: Callable[..., Graph], tmp_path: Path) -> None:
    """And the robot gets the chance to park."""
    parked = tmp_path / "parked"
    park = f"signal.signal(signal.SIGTERM, lambda *_: (open({str(parked)!r}, 'w').close(), sys.exit(0)))\n"
    robot = {
        "name": "robot",
        "code": park + "ready()\nwhile True:\n    signal.pause()",
        "orphan_signal": signal.SIGTERM,
    }
    running = graph(robot, {"name": "stubborn", "code": "resist()"}, POLICY)
    pids = running.pids()
    running.process.kill()
    wait_for(lambda: not any(alive(pid) for pid in pids.values()), "every node is gone")
    assert parked.exists()


def test_logs_hold_everything_and_the_terminal_is_prefixed(graph: Callable[..., Graph]) -> None:
    code = "ready(); print('one'); sys.stderr.write('two\\n'); sys.stdout.write('half a line')"
    running = graph({"name": "policy", "code": code, "ends_graph": True})
    _, _, err = running.end()
    assert {"one", "two", "half a line"} <= set(running.log("policy").splitlines())
    assert {"[policy] one", "[policy] two", "[policy] half a line"} <= set(err.splitlines())


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, "ended with exit code 0"), (3, "ended with exit code 3"), (-11, "was killed by SIGSEGV")],
)
def test_describe_exit(code: int, expected: str) -> None:
    assert describe_exit(code) == expected


def test_domains_are_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    with own_domain() as first, own_domain() as second:
        assert first is not None
        assert second is not None
        assert first != second
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", 7400 + 250 * first + 5))


def test_a_domain_that_a_person_set_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    with own_domain() as domain:
        assert domain is None


def test_a_graph_has_defaults_and_what_a_person_set_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RMW_IMPLEMENTATION", "ROS_DOMAIN_ID"):
        monkeypatch.delenv(name, raising=False)
    shared = environment(tmp_path, 7)
    assert (shared["RMW_IMPLEMENTATION"], shared["ROS_DOMAIN_ID"]) == ("rmw_fastrtps_cpp", "7")
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    monkeypatch.setenv("ROS_DOMAIN_ID", "9")
    mine = environment(tmp_path, None)
    assert (mine["RMW_IMPLEMENTATION"], mine["ROS_DOMAIN_ID"]) == ("rmw_cyclonedds_cpp", "9")
