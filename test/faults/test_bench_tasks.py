"""Tasks on a bench: ports taught with the tool, and a run that waits until a person has changed the task.

Real processes over real DDS: robot_node on the stand-in driver, `meld task teach`, `meld task attend`, a whole run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from std_srvs.srv import Trigger

from meld_core.announce import GateReport
from meld_core.config import ConfigError
from meld_core.storage.run_folder import RunFolder
from meld_core.task_families import make_tasks
from meld_core.taught_tasks import read_taught
from meld_ros import conversions as msgs
from meld_ros.graph import ROBOT
from meld_ros.share import resolve_config
from test.faults.driver_bench import READY, STAND_INS, urgent
from test.faults.test_conformance import training, trials_of, write_config
from test.ros.conftest import DEADLINE, ROOT, Ros
from test.ros.stand_ins import Listener, parameters

PLACES = ((0.30, -0.044, 0.055), (0.30, 0.0, 0.055), (0.30, 0.044, 0.055))
"""Where the test brings the tool [m]."""


def meld(ros: Ros, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command of `meld`, under way; its input is a pipe."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "meld_ros.cli", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return ros.adopt(process)


class Hand(Listener):
    """A person's client that brings the tool to places, and calls services."""

    def __init__(self, ros: Ros, step_size: float, period: float) -> None:
        super().__init__(ros)
        self._scale, self._step = msgs.ActionScale(step_size, period), step_size
        self._action = msgs.publisher(self.node, msgs.TELEOP_ACTION)
        self.tool, self.stamp = np.zeros(3), 0
        msgs.subscription(self.node, msgs.TOOL_POSE, self._on_tool)

    def _on_tool(self, msg: Any) -> None:
        self.tool, self.stamp = msgs.pose_from_msg(msg)[0], msgs.stamp_of(msg.header)

    def brings(self, place: tuple[float, float, float]) -> None:
        """Step by step, until the tool rests there."""
        answered = 0

        def there() -> bool:
            nonlocal answered
            error = np.array(place) - self.tool
            if self.stamp > answered:
                answered = self.stamp
                action = np.clip(error / self._step, -1, 1).astype(np.float32)
                self._action.publish(self._scale.to_msg(action, self.stamp))
            return bool(answered and np.abs(error).max() < 0.0015)

        self.ros.until(there, f"the tool at {place}")

    def calls(self, service: str) -> Trigger.Response:
        """Call a service once; its answer."""
        client = self.node.create_client(Trigger, service)
        self.ros.until(client.service_is_ready, service)
        answer = client.call_async(Trigger.Request())
        self.ros.until(answer.done, f"the answer of {service}")
        return answer.result()

    def teaches(self) -> None:
        """Until the pose is taken: the tool must have come to rest."""
        self.ros.until(lambda: self.calls("teach").success, "a pose that is taken")


def test_ports_are_taught_with_the_tool_and_a_moving_or_absent_arm_is_refused(ros: Ros, tmp_path: Path) -> None:
    write_config(tmp_path / "short.yaml")
    config = resolve_config("ros2_control", "ethernet", str(tmp_path / "short.yaml"), ["task.taught=none"])
    urgent(ros.start(str(STAND_INS / "trajectory_controller.py"), {"start": READY}))
    settings = ("--robot", "ros2_control", "--config", "short.yaml")
    teach = meld(ros, tmp_path, "task", "teach", "ports.yaml", "--repeats", "2", "--held-out", "3", *settings)
    hand = Hand(ros, config.robot.step_size, config.robot.control_period)
    refused = hand.calls("teach")
    assert not refused.success
    assert "no new tool_pose comes" in refused.message
    ros.start("meld_ros.robot_node", parameters(config, *ROBOT.sections) | {"gate.teleop_patience": 20.0}, "robot")
    hand.sees("TELEOP")  # teach has asked for the arm
    for place in PLACES:
        hand.brings(place)
        hand.teaches()
        hand.teaches()
    ros.until(lambda: teach.poll() is not None, "the end of teaching")
    out, err = teach.communicate()
    assert teach.returncode == 0, err
    assert "port 1 of 3, teaching 1 of 2: seat the plug" in err
    (placement,) = read_taught(tmp_path / "ports.yaml")
    taught = np.array(placement.mouths)
    assert np.abs(taught - np.array(PLACES) - [0, 0, config.reward.goal_depth]).max() < 0.003
    assert placement.splits == ("train", "train", "held_out")
    assert placement.teachings == (2, 2, 2)
    check = meld(ros, tmp_path, "task", "check", "ports.yaml", *settings)
    shown, _ = check.communicate()
    assert check.returncode == 0
    assert [line for line in shown.splitlines() if "split hash" in line] == [
        line for line in out.splitlines() if "split hash" in line
    ]
    again = meld(ros, tmp_path, "task", "teach", "ports.yaml", *settings)
    assert "teach it again with --replace" in again.communicate()[1]
    assert again.returncode == 2


TAUGHT = """
placements:
  middle:
    mouths: [[0.3, -0.044, 0.06], [0.3, 0.0, 0.06], [0.3, 0.044, 0.06]]
    spread: [0.0, 0.0, 0.0]
    teachings: [3, 3, 3]
    splits: [train, train, held_out]
"""


def test_a_run_waits_until_the_person_has_changed_the_task(ros: Ros, tmp_path: Path) -> None:
    (tmp_path / "ports.yaml").write_text(TAUGHT)
    write_config(tmp_path / "short.yaml")
    taught = f"task: {{horizon: 6, taught: {tmp_path / 'ports.yaml'}}}"
    text = (tmp_path / "short.yaml").read_text().replace("task: {horizon: 6}", taught)
    (tmp_path / "short.yaml").write_text(text)
    urgent(ros.start(str(STAND_INS / "trajectory_controller.py"), {"start": READY}))
    run = ros.adopt(training(tmp_path, "ros2_control", "task:=ethernet", "run:=x"))
    listener, asked = Listener(ros), []
    moved: list[Any] = []
    confirmed: list[GateReport] = []
    msgs.subscription(listener.node, msgs.EXECUTED_ACTION, moved.append)

    def waits() -> bool:
        assert run.poll() is None or confirmed, run.communicate()[0]
        waits_for = listener.reports[-1].waits_for if listener.reports else ""
        return waits_for.endswith("next_task")

    ros.until(waits, "the first request to the person")
    asked.append(listener.reports[-1])
    assert "box at x 300, y 0 mm, turned by 0.00 rad, the cable in port" in asked[0].waits_for
    since = len(listener.said)
    ros.until(lambda: sum("policy: " in said for said in listener.said[since:]) >= 3, "three more heartbeats")
    assert (moved, listener.reports[-1].state.value) == ([], "HOLD")
    person = meld(ros, tmp_path, "task", "attend")
    assert person.stdin is not None
    assert person.stderr is not None
    shown: list[str] = []
    reading = threading.Thread(target=lambda: shown.extend(person.stderr), daemon=True)
    reading.start()

    def ended() -> bool:
        """Enter each time that the person reads of another change."""
        if sum(line.startswith("waiting for ") for line in shown) > len(confirmed):
            confirmed.append(listener.reports[-1])
            person.stdin.write("\n")
            person.stdin.flush()
        return run.poll() is not None

    ros.until(ended, "the end of the run", 3 * DEADLINE)
    said, _ = run.communicate()
    assert run.returncode == 0, said
    person.send_signal(signal.SIGINT)
    reading.join(DEADLINE)
    assert "".join(shown).count("waiting for a person to set up task 'ethernet-train-") == len(confirmed)
    assert "waiting for a person to set up task 'ethernet-train-0-middle'" in said
    config, trials = trials_of(tmp_path, "x")
    assert [trial.meta.task["id"] for trial in trials] == ["ethernet-train-0-middle", "ethernet-train-1-middle"]
    live = [trial.meta.task["live"] for trial in trials]
    assert set(live) <= {0, 1}, "the third port is held out"
    assert len(confirmed) == 1 + int(live[0] != live[1]), "asked only where the bench must change"
    held_out = make_tasks(RunFolder(tmp_path / "runs" / "x").read_config().task).sample("held_out", 0)
    assert held_out.live == 2
    with pytest.raises(ConfigError, match="no port of .*ports.yaml belongs to 'validation'"):
        make_tasks(config.task).sample("validation", 0)
