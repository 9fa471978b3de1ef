"""A driver stand-in, robot_node and a commander as processes, faults to inject, and the oracle's view of all of it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meld_core.announce import Announcement, EpisodeKey
from meld_core.robot import GateState
from meld_core.schedule import Schedule
from meld_core.sim.arm import workspace
from meld_ros import conversions as msgs
from meld_ros.graph import ROBOT
from meld_ros.share import resolve_config
from test.faults.driver_bench import READY, SCRIPTS, STAND_INS, Faults, urgent, waits
from test.faults.oracle import BRAKING, Bounds, Recording, Still, unsafe_samples
from test.ros.conftest import Process, Ros
from test.ros.stand_ins import Listener, parameters

UNGUARDED = Path(__file__).resolve().parent / "unguarded.py"
BENCH = ("driver.connect_timeout=60.0", "driver.reset_speed=1.5")
"""Nothing that is judged here."""
PATIENT = ("driver.stale_after=1.0",)
"""A busy machine delays joint states; whoever judges that guard leaves this out."""
_CLEAR_AFTER = 3.0
_WAITS = 1000


@dataclasses.dataclass
class Outcome:
    """What a fault led to."""

    stop: float | None = None
    """From the fault until the arm was told to hold [s]; None: it was not, or that does not apply."""
    rest: float | None = None
    """From the fault until the arm rested [s]."""
    stall: float = 0.0
    """How long the machine kept robot_node and driver waiting for a processor meanwhile (`Stage.starved`) [s]."""
    unsafe: dict[str, int] = dataclasses.field(default_factory=dict)
    complaints: list[str] = dataclasses.field(default_factory=list)
    reason: str = ""
    """What the gate said last."""
    limit: float | None = None
    """What is promised for `stop` (or `rest`, where nobody is left to hold) [s]."""

    def __str__(self) -> str:
        numbers = [f"{name} {1000 * value:.0f} ms" for name, value in
                   (("held after", self.stop), ("rested after", self.rest), ("starved", self.stall))
                   if value is not None]  # fmt: skip
        return ", ".join(
            [f"{self.reason!r}", *numbers, *(f"{count} samples {kind}" for kind, count in self.unsafe.items() if count)]
        )


class Stage:
    """One arm. `without` names guards of robot_node that are switched off (unguarded.py)."""

    def __init__(
        self,
        ros: Ros,
        *overrides: str,
        without: str = "",
        simulated_time: bool = False,
        commander: dict[str, Any] | None = None,
    ) -> None:
        self.ros, self.config = ros, resolve_config("ros2_control", config="smoke", overrides=[*BENCH, *overrides])
        self._time = {"use_sim_time": True} if simulated_time else {}
        self.excused: set[str] = set()
        """Kinds of unsafe samples that no gate can prevent after this fault."""
        self._without, self._stills = without, list[Still]()
        self._judged_until = 0.0
        self._faulty: set[str] = set()
        self.cleared = 0
        """How often `moving` had to clear a stop that nobody asked for: a machine that was too busy."""
        self._waits: list[tuple[float, dict[str, dict[str, float]]]] = []
        self.recording = Recording(ros.folder / f"recording-{time.monotonic_ns()}.jsonl")
        self._noted = self.recording.path.with_suffix(".faults")
        self.clock = self.beat("clock") if simulated_time else None
        stand_in = {"start": READY, "record": str(self.recording.path), "faults": str(self._noted), **self._time}
        self.driver = self._urgent(str(STAND_INS / f"{SCRIPTS['ros2_control']}.py"), stand_in)
        self.listener = Listener(ros)
        self._faults = {
            who: Faults(ros, self.listener.node, who) for who in (SCRIPTS["ros2_control"], "commander", "beat")
        }
        lower, upper = workspace(self.config)
        self.bounds = Bounds(self.config.gate.max_joint_speed, lower, upper)
        self.robot = self.start_robot()
        self._commander = commander or {}
        self.commander = self.start_commander(**self._commander)

    def _urgent(self, module: str, given: dict[str, Any], name: str = "") -> Process:
        process = self.ros.start(module, given, name)
        urgent(process)
        return process

    def start_robot(self) -> Process:
        """robot_node, guarded or not."""
        os.environ["MELD_TEST_WITHOUT"] = self._without
        given = parameters(self.config, *ROBOT.sections) | self._time
        process = self._urgent(str(UNGUARDED) if self._without else "meld_ros.robot_node", given, "robot")
        self.ros.mortal.add(process.pid)
        return process

    def start_commander(self, **different: Any) -> Process:
        """A commander that leads (or, with `leads=False`, one that interferes)."""
        robot = self.config.robot
        key = EpisodeKey("run", "", 0, 0)
        task = json.loads(Announcement(key, Schedule(self.config).plan(0).task).to_json())
        given = {
            "announcement": json.dumps(task),
            "step_size": robot.step_size,
            "control_period": robot.control_period,
            "lease": self.config.gate.policy_lease,
            "faults": str(self._noted),
        }
        return self._urgent(str(STAND_INS / "commander.py"), {**given, **self._time, **different})

    def beat(self, what: str) -> Process:
        """A stop button or a clock."""
        return self._urgent(str(STAND_INS / "beat.py"), {"what": what, "faults": str(self._noted)}, what)

    def inject(self, fault: str, who: str = "commander") -> float:
        """Tell a stand-in to misbehave. Returns the steady time at which it began [s]."""
        self._faulty.add(who)
        self._faults[who].inject(fault)
        began, _, _ = self._noted.read_text().splitlines()[-1].partition(" ")
        return float(began)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for something in recording or reports."""

        def there() -> Any:
            self.recording.refresh()
            del self._waits[:-_WAITS]
            self._waits.append((time.monotonic(), self._snapshot()))
            return condition()

        self.ros.until(there, what)

    def lasts(self, seconds: float) -> None:
        """So much longer in the driver's life."""
        end = self.recording.now + seconds
        self.until(lambda: self.recording.now >= end, f"{seconds} s of the driver")

    def stopped(self) -> bool:
        """Whether the gate says STOPPED."""
        return bool(self.listener.reports and self.listener.reports[-1].state is GateState.STOPPED)

    def moving(self, steps: int = 3) -> None:
        """Until the arm is in the middle of a step, several steps after a reset."""

        patience = time.monotonic() + _CLEAR_AFTER

        def there() -> bool:
            nonlocal patience
            if time.monotonic() > patience and self.stopped():
                patience = time.monotonic() + _CLEAR_AFTER
                self.call(msgs.CLEAR_STOP)
                self.cleared += 1
            way = max((c.at for c in self.recording.commands if c.is_way), default=None)
            if way is None or len([c for c in self.recording.between(way) if c.moves]) < steps:
                return False
            last, now = self.recording.commands[-1], self.recording.now
            _, speeds = self.recording.speeds(now - 0.1)
            return bool(last.moves and now - last.at < 0.12 and len(speeds) and speeds[-1] > 0.1)

        self.until(there, "an arm under way")

    def steps(self, count: int, since: float) -> None:
        """So many steps that want motion since a time."""
        self.until(lambda: sum(c.moves for c in self.recording.between(since)) >= count, f"{count} steps")

    def _snapshot(self) -> dict[str, dict[str, float]]:
        processes = {"robot": self.robot, "driver": self.driver}
        return {name: waits(process) for name, process in processes.items() if process.poll() is None}

    def starved(self, begin: float, end: float) -> float:
        """How long the machine kept the worst thread of robot_node and that of the driver waiting, together [s]."""
        early = next((shot for at, shot in reversed(self._waits) if at <= begin), self._waits[0][1])
        late = next((shot for at, shot in self._waits if at >= end), self._waits[-1][1])
        return sum(
            max((wait - early[name].get(thread, 0.0) for thread, wait in late[name].items()), default=0.0)
            for name in early.keys() & late.keys()
        )

    def call(self, service: str) -> tuple[float, bool, str]:
        """Call a service of robot_node: the moment before, and its answer."""
        client = self.listener.node.create_client(msgs.SERVICE, service)
        self.ros.until(client.service_is_ready, service)
        self.recording.refresh()
        at = time.monotonic()
        answers = [client.call_async(msgs.SERVICE.Request())]

        def answered() -> bool:
            if time.monotonic() > at + _CLEAR_AFTER * len(answers):  # a robot_node that was killed may have got it
                answers.append(client.call_async(msgs.SERVICE.Request()))
            return any(answer.done() for answer in answers)

        self.ros.until(answered, f"the answer of {service}")
        answer = next(answer for answer in answers if answer.done()).result()
        self.listener.node.destroy_client(client)
        return at, answer.success, answer.message

    def fault(self, act: Callable[[], Any]) -> float:
        """The steady time just before something is done to the arm's stack."""
        at = time.monotonic()
        act()
        return at

    def close(self) -> None:
        """End everything, for another stage."""
        for process in (self.robot, self.driver, self.commander, *([self.clock] if self.clock else [])):
            self.ros.mortal.add(process.pid)
            process.kill()
            process.wait()

    def recover(self) -> None:
        """Mend every fault: start again what is dead, make everybody behave, clear a stop."""
        for process in (self.robot, self.driver, self.commander):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        if self.robot.poll() is not None:
            self.robot = self.start_robot()
        if self.commander.poll() is not None:
            self.commander = self.start_commander(**self._commander)
            self._faulty.discard("commander")
        for who in list(self._faulty):
            self.inject("", who)
        self._faulty.clear()
        self.call(msgs.CLEAR_STOP)
        if self.excused:  # what it left behind lasts until the next reset
            began = self.recording.now
            self.until(lambda: self.recording.next_way(began) < math.inf, "a reset")
            self._judged_until = max(self.recording.now, self.recording.next_way(began))
        self.excused.clear()

    def judge(
        self, at: float, limit: float, *, watch: float = 1.2, by_rest: bool = False, resumes: bool = False
    ) -> Outcome:
        """Watch what follows a fault after which the arm must hold, until its next reset.

        Args:
            at: Steady time of the fault.
            limit: Until the hold must have come [s].
            watch: How long to watch [s].
            by_rest: No hold can come (nobody is left to send one): the arm must come to rest by itself.
            resumes: Whether a way (parking, a reset) may follow; without, none may.
        """
        self.until(lambda: self.recording.now > at + limit + watch, "what follows")
        end = self.recording.now if resumes else min(self.recording.next_way(at), self.recording.now)
        held, rested = self.recording.held_at(at, end - 1e-6), self.recording.rested_at(at, end)
        decisive = rested if by_rest else held
        stalled = self.starved(at, at + limit if decisive is None else decisive)
        outcome = Outcome(stall=stalled, limit=limit)
        outcome.stop = None if held is None else held - at
        outcome.rest = None if rested is None else rested - at
        if decisive is None:
            outcome.complaints.append("the arm moves on" if by_rest else "the arm was never told to hold")
        elif decisive - at > limit + stalled:
            outcome.complaints.append(f"{1000 * (decisive - at):.0f} ms, allowed are {1000 * (limit + stalled):.0f} ms")
        if not resumes and end < self.recording.now:
            outcome.complaints.append("the arm was reset")
        self._stills.append(Still(at + limit + stalled + BRAKING, end))
        return self.conclude(outcome)

    def must_rest(self, begin: float, end: float) -> None:
        """A span in which motion is unsafe."""
        self._stills.append(Still(begin, end))

    def conclude(self, outcome: Outcome | None = None) -> Outcome:
        """Count unsafe samples since this was last asked; complain about them, and where robot_node ended."""
        outcome = outcome or Outcome()
        self.recording.refresh()
        found = unsafe_samples(self.recording, self.bounds, self._stills, self._judged_until)
        self._judged_until = self.recording.now
        for kind, count in found.items():
            if count and kind not in self.excused:
                outcome.unsafe[kind] = outcome.unsafe.get(kind, 0) + count
                outcome.complaints.append(f"{count} samples: {kind}")
        outcome.reason = self.listener.reports[-1].reason if self.listener.reports else ""
        if self.robot.poll() not in (None, 0, -signal.SIGKILL):
            outcome.complaints.append(f"robot_node ended with {self.robot.poll()}")
        return outcome
