"""Host and collector in one process, joined by a queue that loses what it is told to lose."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np
from fake_robot import FakeRobot

from meld_core.agent import Agent
from meld_core.announce import Announcement, GateReport
from meld_core.collector import Collector
from meld_core.config import Config, GateConfig, SimConfig, TaskConfig
from meld_core.host import Step
from meld_core.hosting import LockstepHost
from meld_core.link import Phase
from meld_core.robot import GateState, MotionGate
from meld_core.schedule import Schedule, TrialPlan
from meld_core.storage.memory_sink import MemorySink
from meld_core.storage.trial_file import encode_trial
from meld_core.types import Frame, Reward, RobotState, Trial

SMALL = Config(
    task=TaskConfig(horizon=4), sim=SimConfig(image_size=16), gate=GateConfig(step_timeout=1.0, step_retries=2)
)


class FakeBench(FakeRobot):
    """Every number of a step says which step it is."""

    def look(self) -> tuple[RobotState, dict[str, Frame], dict[str, float]]:
        state = self.observe()
        pixels = np.full((32, 16, 3), self.stamp // 250_000_000 % 256, np.uint8)
        frames = {name: Frame(pixels, self.stamp, name) for name in ("policy", "detector")}
        return state, frames, {"success": 0.0, "port": -1.0, "shaped": float(self.position[0])}


class Ring:
    """The collector's link. Messages are (kind, value) and arrive in order, unless `lose(kind, number)` says no."""

    def __init__(self, lose: Callable[[str, int], bool] = lambda kind, number: False, trials: int = 2) -> None:
        self.now = 0.0
        self.lose, self.sent, self.lost = lose, Counter[str](), Counter[str]()
        self._queue: deque[tuple[str, Any]] = deque()
        self.bench = FakeBench()
        self.gate = MotionGate(self.bench, SMALL.gate, SMALL.robot, self.clock)
        self.host = LockstepHost(self.bench, self.gate, SMALL.gate, self.clock)
        self._reported: GateReport | None = None
        self.trials: list[Trial] = []
        schedule = Schedule(SMALL)

        def plans(index: int) -> TrialPlan | None:
            return schedule.plan(index) if index < trials else None

        self.collector = Collector(
            SMALL,
            Agent(SMALL),
            MemorySink(),
            self,
            plans,
            run="ring",
            boot="b" * 32,
            on_trial=self.trials.append,
            clock=self.clock,
        )

    def clock(self) -> float:
        return self.now

    def announce(self, announcement: Announcement) -> None:
        self._send("task", announcement)

    def request_reset(self) -> None:
        self._send("reset", None)

    def command(self, action: np.ndarray, stamp: int) -> None:
        self._send("action", (action, stamp))

    def _send(self, kind: str, value: Any) -> None:
        self.sent[kind] += 1
        if self.lose(kind, self.sent[kind]):
            self.lost[kind] += 1
        else:
            self._queue.append((kind, value))

    def _publish(self, ready: bool) -> None:
        self._report()
        if not ready:
            return
        step = self.host.step
        assert step is not None
        if step.executed is not None:
            self._send("executed_action", (step.executed_stamp, step.executed))
        for name, value in _parts(step).items():
            self._send(name, (step.state.stamp, value))

    def _report(self, again: bool = False) -> None:
        if again or self.host.report != self._reported:
            self._reported = self.host.report
            self._send("gate_state", self._reported)

    def _deliver(self, kind: str, value: Any) -> None:
        if kind == "task":
            self.host.announce(value)
            self._report(again=True)
        elif kind == "reset":
            self.host.request_reset()
            self._report(again=True)
            self._publish(self.host.run_reset())
        elif kind == "action":
            verdict = self.host.command(*value, "collector")
            self._publish(verdict is not None and verdict.uses_period)
        elif kind == "gate_state":
            self.collector.on_report(value)
        elif kind == "executed_action":
            self.collector.on_executed(*value)
        elif kind == "detector_image":
            self._send("reward", (value[0], Reward(0.0, False, 0.0)))
        else:
            self.collector.on_part(kind, *value)

    def step(self) -> None:
        """Deliver the next message; with none on the way let 0.1 s pass."""
        if self._queue:
            self._deliver(*self._queue.popleft())
            return
        self.now += 0.1
        self._publish(self.host.tick())
        self.collector.poll()

    def run(self, until: Callable[[], bool] | None = None, most: int = 20_000) -> None:
        """Run until a condition; by default until the collector is finished."""
        if self.collector.phase is Phase.FINISHED:
            self.collector.start()
        for _ in range(most):
            if until() if until else self.collector.phase is Phase.FINISHED:
                return
            self.step()
        raise AssertionError(f"still {self.collector.phase}, gate {self.gate.state}, sent {self.sent}")

    def files(self) -> list[bytes]:
        """The trials as they would lie on disk."""
        return [encode_trial(trial) for trial in self.trials]


def _parts(step: Step) -> dict[str, Any]:
    state = step.state
    return {
        "detector_image": step.frames["detector"],
        "image": step.frames["policy"].pixels,
        "joint_states": (state.joints, state.velocities),
        "tool_pose": (state.tool_position, state.tool_orientation),
        "truth": dict(step.truth),
    }


def running(ring: Ring, steps: int) -> Callable[[], bool]:
    """The collector has carried out that many steps and waits for the next."""
    return lambda: ring.collector.steps >= steps and ring.gate.state is GateState.POLICY
