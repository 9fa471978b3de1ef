"""Recordings of whole graphs by `meld data record`: turned into trials and replayed; killed; found by a run's name."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from std_msgs.msg import String

from meld_core.storage.run_folder import RunFolder
from meld_ros.cli import main
from meld_ros.doctor_processes import node_processes

from .bag_builder import read, text
from .conftest import DEADLINE, Ros


class Commands:
    """`meld` commands as processes of a folder, all on the test's domain."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._started = folder, list[subprocess.Popen[str]]()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "meld_ros.cli", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=3 * DEADLINE)
        assert "Traceback" not in output, output
        return process.returncode, output

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def meld(domain: None, tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(tmp_path)
    yield commands
    commands.close()


ATTEMPTS = 6
"""A recorder that the machine keeps waiting hears a graph late, or loses messages. Nothing wrong may come of any
recording; one in so many must be whole."""


def recorded_run(meld: Commands, ros: Ros, number: int) -> tuple[str, str, bool]:
    """Bag and run of a whole training, and whether the recorder says that nothing was dropped."""
    bag, run = f"bag{number}", f"x{number}"
    recorder = meld.start("data", "record", "--out", bag)
    listening = ros.probe()
    ros.until(lambda: "meld_recorder" in listening.get_node_names(), "the recorder")
    patient = ("gate.policy_lease=5.0", "gate.step_timeout=10")  # a busy machine must not break off a trial
    brief = ("train.trials=6", "eval.trials=1", "eval.video_trials=0", "eval.baselines=false", "eval.processes=1")
    code, output = meld.run("train", "--config", "smoke", "--run", run, "--set", *brief, *patient)
    assert code == 0, output
    recorder.send_signal(signal.SIGINT)
    output, _ = recorder.communicate(timeout=DEADLINE)
    nothing_dropped = f" 0 dropped: {bag}" in output
    assert recorder.returncode == int(not nothing_dropped), output
    assert (" were dropped; record fewer topics" in output) != nothing_dropped, output
    ros.until(lambda: "meld_recorder" not in listening.get_node_names(), "its end")
    return bag, run, nothing_dropped


def taken_in(bag: str, run: str, how: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, int, int]:
    """Import in one way: trials recorded as sent, rebuilt, refused. What is stored is what the run stored."""
    out = Path("-".join(["in", bag, *how]))
    code = main(["data", "import", bag, "--out", str(out), *how])
    said = capsys.readouterr()
    if code == 2:  # the run was over before the recorder had found its topics
        assert "holds no topic `task`" in said.err, said
        return 0, 0, 0
    pattern = (
        r"(\d) were recorded as sent, (\d) rebuilt from their steps \((\d) equal to the sent ones\).* (\d) refused"
    )
    told = re.search(pattern, said.out)
    assert told is not None, said
    sent, rebuilt, equal, refused = map(int, told.groups())
    assert (code, said.err.count("wx250s-")) == (int(refused > 0), refused), said
    assert equal <= min(sent, rebuilt)
    live = imported(Path("runs") / run)
    again = imported(out)
    assert len(live) == 6
    assert again.items() <= live.items()
    assert len(again) == rebuilt if how else len(again) >= max(sent, rebuilt)
    return sent, rebuilt, refused


@pytest.mark.usefixtures("single_thread")
def test_a_recorded_graph_becomes_the_bytes_that_it_stored(
    meld: Commands, ros: Ros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real processes over DDS; then import in both ways, and replay."""
    monkeypatch.chdir(tmp_path)
    for number in range(ATTEMPTS):
        bag, run, nothing_dropped = recorded_run(meld, ros, number)
        found = [taken_in(bag, run, how, capsys) for how in ([], ["--from-steps"])]
        rebuilt = found[0][1]
        # the two demonstrations may be over before all have found each other
        if nothing_dropped and rebuilt >= 4 and found == [(6, rebuilt, 0)] * 2:
            break
    else:
        pytest.fail(f"none of {ATTEMPTS} recordings was whole; of the last one: {found}")
    live = imported(Path("runs") / run)
    assert imported(Path(f"in-{bag}")) == live
    assert imported(Path(f"in-{bag}---from-steps")) == dict(sorted(live.items())[-rebuilt:])
    assert RunFolder(tmp_path / f"in-{bag}").read_config() == RunFolder(tmp_path / "runs" / run).read_config()
    assert main(["data", "replay", bag, "--json", "same.json"]) == 0
    figures = json.loads((tmp_path / "same.json").read_text())
    assert (figures["trials"], figures["max_deviation"], figures["equal"]) == (rebuilt, 0.0, True)
    assert [one["source"] for one in figures["each"]][-4:] == 4 * ["policy"], figures["each"]
    assert main(["data", "replay", bag, "--weights", f"runs/{run}/weights/final.safetensors"]) == 1
    assert "not equal: " in capsys.readouterr().out


def imported(folder: Path) -> dict[str, bytes]:
    """Files of trials by name."""
    return {path.name: path.read_bytes() for path in (folder / "replay").glob("*.safetensors")}


def test_a_killed_recording_says_how_to_save_it(meld: Commands, ros: Ros, tmp_path: Path) -> None:
    recorder = meld.start("data", "record", "--out", "bag", "--topics", "noise", "--split", "2")
    probe = ros.probe()
    publisher = probe.create_publisher(String, "noise", 100)
    ros.until(lambda: publisher.get_subscription_count() == 1, "the subscription")
    said = [f"{number} " + "x" * 200_000 for number in range(40)]
    sizes = [0]

    def has_chunks() -> bool:
        unfinished = list((tmp_path / "bag/.recording").glob("*/*.mcap"))
        sizes.append(max((path.stat().st_size for path in unfinished), default=0))
        whole = sizes[-1] == sizes[-2] > 10**6  # a chunk that is being written grows
        return (tmp_path / "bag/bag_1.mcap").is_file() and whole

    def has_chunks_while_talking() -> bool:
        publisher.publish(String(data=said[0]))
        return has_chunks()

    ros.until(has_chunks_while_talking, "a finished file and chunks of the next")
    recorder.send_signal(signal.SIGKILL)
    recorder.wait()
    code, output = meld.run("data", "import", "bag", "--out", "o")
    assert code == 2
    assert "bag was not closed; save what it holds: meld data recover bag --out DIR" in output
    code, output = meld.run("data", "recover", "bag", "--out", "saved")
    assert code == 0, output
    assert "was not closed" in output
    saved = read(tmp_path / "saved")
    assert f"{len(saved)} messages saved in saved" in output
    assert len(saved) >= 25
    assert {data for _, _, data in saved} <= {text(message) for message in said}


def test_a_recording_by_the_name_of_a_run_finds_its_domain_and_holds_its_settings(
    meld: Commands, ros: Ros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID")
    graph = meld.start("launch", "robot", "config:=smoke", "run:=y")
    ros.until(lambda: [p for p in node_processes() if p.node == "robot" and p.run == str(tmp_path / "runs/y")], "robot")
    recorder = meld.start("data", "record", "--run", "y", "--topics", "gate_state")
    ros.until(lambda: list((tmp_path / "runs/y/bags").glob("*/.recording/*/*.mcap")), "a message")
    for process in (recorder, graph):
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, output
    (bag,) = (tmp_path / "runs/y/bags").iterdir()
    assert (bag / "config.yaml").read_bytes() == (tmp_path / "runs/y/config.yaml").read_bytes()
    assert {topic for topic, _, _ in read(bag)} == {"/gate_state"}


def test_a_recording_of_a_run_that_does_not_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    assert main(["data", "record", "--run", "nowhere"]) == 2
    assert "there is no run folder" in capsys.readouterr().err
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "runs/x/config.yaml").write_text("")
    assert main(["data", "record", "--run", "x"]) == 2
    assert "no graph of run runs/x is running; start it first, or leave --run out" in capsys.readouterr().err
    assert main(["data", "record", "--split", "0"]) == 2
    assert "--split is 0.0, must be more than 0 [MB]" in capsys.readouterr().err
    assert not list(tmp_path.glob("bags"))
