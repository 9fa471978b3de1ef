"""Recorded messages become the trials that were stored live: in order or not, or they are refused with a reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lockstep_ring import SMALL, Ring, running

from meld_core.agent import Agent
from meld_core.announce import Announcement, EpisodeKey, GateReport
from meld_core.collector import Collector
from meld_core.config import Config, to_mapping
from meld_core.exchange.compare import Comparison
from meld_core.exchange.importer import Importer, ImportReport
from meld_core.exchange.rebuild import Rebuilder, RecordedAgent
from meld_core.exchange.recorded import Heard, RecordedTrial, Recording
from meld_core.exchange.steps import IncompleteError
from meld_core.robot import GateState
from meld_core.schedule import Schedule, TrialPlan, held_out_plans
from meld_core.storage.memory_sink import MemorySink
from meld_core.storage.trial_file import decode_trial, encode_trial
from meld_core.types import Reward, Trial
from meld_core.weights import Weights

SLOW = settings(max_examples=30, deadline=None)


class Tapped(Ring):
    """The ring, with a recorder that hears every message, the lost ones too, and the policy's word on each trial."""

    def __init__(self, lose: Callable[[str, int], bool] = lambda kind, number: False, trials: int = 2) -> None:
        self.heard: list[Heard] = []
        super().__init__(lose, trials)
        self.collector._on_trial = self._on_trial

    def _hear(self, topic: str, stamp: int, value: Any) -> None:
        self.heard.append(Heard(topic, 10 * len(self.heard) + 1, stamp, value))

    def _on_trial(self, trial: Any) -> None:
        self.trials.append(trial)
        facts = {"event": "closed", "trial": str(trial.meta.id), "rows": len(trial), "aborted": trial.meta.aborted}
        self._hear("trial_events", 0, facts)

    def _send(self, kind: str, value: Any) -> None:
        if kind in ("task", "gate_state"):
            self._hear(kind, 0, value)
        elif kind == "action":
            self._hear(kind, value[1], value[0])
        elif kind not in ("reset", "detector_image"):
            self._hear(kind, *value)
        super()._send(kind, value)


@pytest.fixture(scope="module")
def live() -> Tapped:
    """Two scripted trials of two episodes of four steps."""
    ring = Tapped()
    ring.run()
    return ring


def rebuilt(heard: Sequence[Heard], config: Config = SMALL) -> tuple[list[bytes], list[str]]:
    """Trials as bytes, and why others were refused."""
    recording = Recording(heard)
    rebuilder = Rebuilder(config, RecordedAgent(), recording)
    files: list[bytes] = []
    reasons: list[str] = []
    for recorded in recording.read():
        try:
            trial = rebuilder.rebuild(recorded)
        except IncompleteError as error:
            reasons.append(str(error))
        else:
            files += [encode_trial(trial)] if trial else []
    return files, reasons


def test_every_trial_comes_back_byte_for_byte(live: Tapped) -> None:
    assert len(live.files()) == 2
    assert rebuilt(live.heard) == (live.files(), [])


def test_what_was_said_again_is_taken_once() -> None:
    ring = Tapped(lose=lambda kind, number: number == 3)
    ring.run()
    assert ring.lost.total() > 5
    assert rebuilt(ring.heard) == (ring.files(), [])


def test_an_aborted_trial_keeps_its_closed_episode_and_its_reason() -> None:
    ring = Tapped()
    ring.run(running(ring, 6))
    ring.gate.hold("somebody came near")
    ring.now += 2.0
    ring.run()
    aborted = decode_trial(ring.files()[0])
    assert "somebody came near" in aborted.meta.aborted
    assert (len(aborted), len(ring.files())) == (5, 3)
    assert rebuilt(ring.heard) == (ring.files(), [])


def test_a_trial_whose_actor_died_is_what_the_spool_recovers(live: Tapped) -> None:
    """Another actor goes on: the closed episode is kept under the spool's word for it."""
    second = next(i for i, h in enumerate(live.heard) if h.topic == "task" and h.value.key.episode == 1)
    died = live.heard[: second + 12]
    other = Tapped()
    other.collector._boot = "c" * 32
    other.collector._driver = other.collector._new_driver()
    other.run()
    files, reasons = rebuilt([*died, *other.heard])
    assert reasons == []
    assert files[1:] == other.files()
    recovered = decode_trial(files[0])
    assert recovered.meta.aborted == "the actor ended before it closed the trial"
    whole = live.trials[0]
    for name, column in recovered.rows.items():
        np.testing.assert_array_equal(column, whole.rows[name][:5])


def test_a_recording_that_begins_or_ends_in_the_middle(live: Tapped) -> None:
    episodes = [i for i, h in enumerate(live.heard) if h.topic == "task" and h.value.key.episode == 1]
    files, reasons = rebuilt(live.heard[episodes[0] :])
    assert (files, reasons) == (live.files()[1:], ["its recording begins with episode 1"])
    files, reasons = rebuilt(live.heard[20:])
    assert len(files) == 1
    assert "its recording begins with episode 1" in reasons[0]
    files, reasons = rebuilt(live.heard[: episodes[1] + 14])
    assert files == live.files()[:1]
    assert reasons[0].startswith("the recording ends before the trial does (")


@pytest.mark.parametrize(
    ("topic", "sentence"),
    [
        ("image", "image of step 2 of episode 0 is not in the recording"),
        ("reward", "reward of step 2 of episode 0 is not in the recording"),
        ("truth", "truth of step 2 of episode 0 is not in the recording"),
        ("action", "the command of step 2 of episode 0 is not in the recording"),
        ("executed_action", "what was executed of step 2 of episode 0 is not in the recording"),
    ],
)
def test_what_is_missing_is_named(live: Tapped, topic: str, sentence: str) -> None:
    third = [h for h in live.heard if h.topic == topic][2]
    files, reasons = rebuilt([h for h in live.heard if h is not third])
    assert files == live.files()[1:]
    assert reasons == [sentence]


def test_other_settings_are_noticed(live: Tapped) -> None:
    longer = dataclasses.replace(SMALL, task=dataclasses.replace(SMALL.task, horizon=5))
    shorter = dataclasses.replace(SMALL, task=dataclasses.replace(SMALL.task, horizon=3))
    seeded = dataclasses.replace(SMALL, train=dataclasses.replace(SMALL.train, seed=1))
    noisy = dataclasses.replace(SMALL, train=dataclasses.replace(SMALL.train, script_noise=0.5))
    for config, sentence in (
        (longer, "episode 0 ends early: recorded with other settings?"),
        (shorter, "episode 0 goes on after its end: recorded with other settings?"),
        (seeded, "these settings plan another task for trial 0 than was recorded"),
        (noisy, "a command of episode 0 is"),
    ):
        files, reasons = rebuilt(live.heard, config)
        assert files == []
        assert len(reasons) == 2
        assert sentence in reasons[0]


@SLOW
@given(st.data())
def test_a_recording_with_holes_gives_the_stored_trials_or_refuses(live: Tapped, data: st.DataObject) -> None:
    """Whatever is missing: never a trial that was not stored."""
    lost = data.draw(st.sets(st.integers(0, len(live.heard) - 1), min_size=1, max_size=12))
    files, reasons = rebuilt([h for i, h in enumerate(live.heard) if i not in lost])
    assert set(files) <= set(live.files())
    assert len(files) + len(reasons) <= 2


@SLOW
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_messages_of_a_step_may_come_in_any_order(live: Tapped, random: Any, reach: int) -> None:
    """Parts of steps overtake each other; announcements and reports keep their places."""
    heard, fixed = list(live.heard), ("task", "gate_state", "trial_events")
    for start in range(0, len(heard), reach):
        places = [i for i in range(start, min(start + reach, len(heard))) if heard[i].topic not in fixed]
        bounds = [i for i in range(start, min(start + reach, len(heard))) if heard[i].topic == "task"]
        places = [i for i in places if not bounds or i > bounds[-1]]
        shuffled = [heard[i] for i in places]
        random.shuffle(shuffled)
        for i, h in zip(places, shuffled, strict=True):
            heard[i] = h
    assert rebuilt(heard) == (live.files(), [])


def test_a_straggler_of_the_last_step_may_come_after_the_next_announcement(live: Tapped) -> None:
    task = next(i for i, h in enumerate(live.heard) if h.topic == "task" and h.value.key.episode == 1)
    last = max(i for i in range(task) if live.heard[i].topic == "reward")
    heard = [*live.heard[:last], *live.heard[last + 1 : task + 1], live.heard[last], *live.heard[task + 1 :]]
    assert rebuilt(heard) == (live.files(), [])


def imported(heard: Sequence[Heard], out: Path, **options: Any) -> ImportReport:
    return Importer(SMALL, out, **options).run(Recording(heard))


def test_import_writes_counts_and_compares(live: Tapped, tmp_path: Path) -> None:
    sent = [Heard("trials", 0, 0, data) for data in live.files()]
    report = imported([*live.heard, sent[0], sent[0]], tmp_path)
    assert (report.stored, report.known, report.sent, report.rebuilt, report.confirmed) == (2, 1, 1, 2, 1)
    assert report.whole
    names = [f"arm-ring-00000{i}-bbbbbbbb.safetensors".replace("arm", SMALL.robot.name) for i in (0, 1)]
    assert [(tmp_path / "replay" / name).read_bytes() for name in names] == live.files()
    again = imported(live.heard, tmp_path, from_steps=True)
    assert (again.stored, again.known) == (0, 2)


def test_import_keeps_what_was_sent_where_the_steps_say_otherwise(live: Tapped, tmp_path: Path) -> None:
    trial = decode_trial(live.files()[0])
    rows = {**trial.rows, "joints": trial.rows["joints"] + np.float32(1.0)}
    other = encode_trial(dataclasses.replace(trial, rows=rows))
    report = imported([*live.heard, Heard("trials", 0, 0, other)], tmp_path)
    assert not report.whole
    assert "rebuilt from its steps differs from what the policy sent" in report.contradicted[0]
    assert (tmp_path / "replay" / f"{trial.meta.id}.safetensors").read_bytes() == other


def test_import_refuses_and_counts(live: Tapped, tmp_path: Path) -> None:
    no_image = [h for h in live.heard if h.topic != "image"]
    report = imported([*no_image, Heard("trials", 0, 0, b"damaged")], tmp_path)
    assert (report.stored, len(report.refused)) == (0, 3)
    assert "image of step 0 of episode 0 is not in the recording" in report.refused[1]
    assert "3 refused" in report.summary()


@pytest.fixture(scope="module")
def acted() -> tuple[Config, Weights, Tapped]:
    """One scripted trial, then one by the policy, sampled, with fresh weights."""
    config = dataclasses.replace(
        SMALL, train=dataclasses.replace(SMALL.train, demonstrations=1, trials=2, lead=1), model=SMALL.model
    )
    weights = Weights(Agent(config)._nets.state_dict(), 0, 0, "ring", to_mapping(config))
    ring = Tapped(trials=0)
    schedule = Schedule(config)
    ring.collector._plans = lambda index: schedule.plan(index) if index < 2 else None
    ring.collector._config = config
    ring.collector._agent = Agent(config)
    ring.collector._driver = ring.collector._new_driver()
    ring.collector.on_weights(weights)
    ring.heard.append(Heard("weights", 0, 0, weights))
    ring.run()
    return config, weights, ring


def test_a_policy_trial_names_the_weights_that_acted(acted: tuple[Config, Weights, Tapped]) -> None:
    config, weights, ring = acted
    files, reasons = rebuilt(ring.heard, config)
    assert (files, reasons) == (ring.files(), [])
    assert decode_trial(files[1]).meta.weights_digest == weights.digest
    _, reasons = rebuilt([h for h in ring.heard if h.topic != "weights"], config)
    assert reasons == ["the weights that acted are not in the recording"]


def test_the_same_agent_does_the_same_again(acted: tuple[Config, Weights, Tapped]) -> None:
    config, weights, ring = acted
    for given_weights in (None, weights):
        results = list(Comparison(config, Recording(ring.heard), given_weights, 0.0).run())
        assert [(one.source, len(one.deviations), one.first) for one in results] == [
            ("script", 8, None),
            ("policy", 8, None),
        ]
        assert set(results[1].deviations) == {0.0}


def test_another_agent_is_noticed_at_its_first_step(acted: tuple[Config, Weights, Tapped]) -> None:
    config, weights, ring = acted
    moved = {name: tensor + 0.05 for name, tensor in weights.tensors.items()}
    other = dataclasses.replace(weights, tensors=moved, version=3)
    script, policy = list(Comparison(config, Recording(ring.heard), other, 0.0).run())
    assert (script.first, policy.first) == (None, (0, 0))
    assert 0.0 < max(policy.deviations) <= 2.0
    tolerant = list(Comparison(config, Recording(ring.heard), other, 2.0).run())
    assert tolerant[1].first is None


def test_one_changed_command_is_found(acted: tuple[Config, Weights, Tapped]) -> None:
    config, _, ring = acted
    at = [i for i, h in enumerate(ring.heard) if h.topic == "action"][8 + 5]
    changed = ring.heard[at].value.copy()
    changed[1] += np.float32(0.25)
    heard = [*ring.heard[:at], dataclasses.replace(ring.heard[at], value=changed), *ring.heard[at + 1 :]]
    _, policy = list(Comparison(config, Recording(heard), None, 0.0).run())
    assert policy.first == (1, 1)
    assert policy.to_json()["max_deviation"] == pytest.approx(0.25, abs=1e-6)
    assert policy.to_json()["mean_deviation"] == pytest.approx(0.25 / 8, abs=1e-6)
    assert sorted(policy.deviations)[-2] == 0.0


class Played:
    """A collector that is told messages by hand, and a recorder that hears them."""

    def __init__(self, config: Config, plans: Sequence[TrialPlan], agent: Agent | None = None) -> None:
        self.heard: list[Heard] = []
        self.trials: list[Trial] = []
        self.now = 0.0
        self.stamp = 0
        self.collector = Collector(
            config, agent or Agent(config), MemorySink(), self, dict(enumerate(plans)).get,
            run="ring", boot="b" * 32, on_trial=self.trials.append, clock=lambda: self.now,
        )  # fmt: skip
        self.collector.start()

    def announce(self, announcement: Announcement) -> None:
        self._hear("task", 0, announcement)

    def request_reset(self) -> None:
        """It is told by hand."""

    def command(self, action: np.ndarray, stamp: int) -> None:
        self._hear("action", stamp, action)
        self.answer = action

    def _hear(self, topic: str, stamp: int, value: Any) -> None:
        self.heard.append(Heard(topic, len(self.heard) + 1, stamp, value))

    def open(self, episode: int, state: GateState) -> GateReport:
        """The reset of an episode, from its echo to the open gate."""
        key, parts = EpisodeKey("ring", "b" * 32, 0, episode), ("joint_states", "tool_pose", "image")
        self.stamp += 1_000_000_000
        for report in (GateReport(GateState.HOLD, "", key, 0, parts), GateReport(state, "", key, self.stamp, parts)):
            self._hear("gate_state", 0, report)
            self.collector.on_report(report)
        return report

    def see(self, number: int, between: Callable[[], None] = lambda: None) -> None:
        """One observation, 250 ms after the one before; `between` happens before its reward."""
        pose = np.array([0.3, 0.0, 0.06 + 0.001 * number]), np.array([0.0, 0.0, 0.0, 1.0])
        self.stamp += 250_000_000 if self.heard[-1].topic != "gate_state" else 0
        self._say("image", np.full((32, 16, 3), number, np.uint8))
        self._say("joint_states", (np.full(6, 0.1 * number), np.zeros(6)))
        self._say("tool_pose", pose)
        between()
        self._say("reward", Reward(0.0, False, 0.0))

    def _say(self, topic: str, value: Any) -> None:
        self._hear(topic, self.stamp, value)
        self.collector.on_part(topic, self.stamp, value)

    def execute(self, action: np.ndarray) -> None:
        """What the gate let through for the newest observation."""
        self._hear("executed_action", self.stamp, action)
        self.collector.on_executed(self.stamp, action)


def by_person(mode: str) -> tuple[Config, list[Heard], list[Trial]]:
    """A person's trial of two episodes; in realtime the arm rests now and then."""
    train = dataclasses.replace(SMALL.train, demonstrations=1, trials=1, demonstrator="person")
    config = dataclasses.replace(SMALL, train=train, robot=dataclasses.replace(SMALL.robot, mode=mode))
    played = Played(config, [Schedule(config).plan(0)])
    rests = (0, 2, 0, 1) if mode == "realtime" else (0, 0, 0, 0)
    for episode in range(2):
        played.open(episode, GateState.TELEOP)
        for number in range(4):
            for _ in range(1 + rests[number]):
                played.see(number)
            played.execute(np.float32([0.1 * number, 0.0, -0.2]))
        played.see(4)
    return config, played.heard, played.trials


@pytest.mark.parametrize("mode", ["lockstep", "realtime"])
def test_a_persons_trial_comes_back_byte_for_byte(mode: str) -> None:
    config, heard, (stored,) = by_person(mode)
    assert stored.rows["action"][:4, 0].tolist() == np.float32([0.0, 0.1, 0.2, 0.3]).tolist()
    assert set(stored.rows["source"]) == {2}
    assert rebuilt(heard, config) == ([encode_trial(stored)], [])
    last = max(i for i, h in enumerate(heard) if h.topic == "executed_action")
    files, reasons = rebuilt([h for i, h in enumerate(heard) if i != last], config)
    assert files == []
    assert len(reasons) == 1


def realtime() -> tuple[Config, list[Heard], list[Trial]]:
    """Random actions of two episodes in realtime; the reward of row 2 comes after the policy had given up on it."""
    train = dataclasses.replace(SMALL.train, demonstrations=0, random_trials=1, trials=1)
    config = dataclasses.replace(SMALL, train=train, robot=dataclasses.replace(SMALL.robot, mode="realtime"))
    played = Played(config, [Schedule(config).plan(0)])
    for episode in range(2):
        report = played.open(episode, GateState.POLICY)

        def wait(report: GateReport = report) -> None:
            played.now += 1.0
            played.collector.on_report(report)

        for number in range(5):
            played.see(number, wait if number == 2 else lambda: None)
            if number < 4:
                played.execute(played.answer * np.float32(0.5))
    return config, played.heard, played.trials


def test_in_realtime_a_reward_that_came_too_late_is_missing_again() -> None:
    config, heard, (stored,) = realtime()
    assert stored.rows["reward_valid"].tolist() == [True, True, False, True, True] * 2
    assert rebuilt(heard, config) == ([encode_trial(stored)], [])


def test_trials_of_an_evaluation_need_to_be_told_their_weights(
    acted: tuple[Config, Weights, Tapped], tmp_path: Path
) -> None:
    config, weights, _ = acted
    agent = Agent(config)
    agent.load(weights)
    played = Played(config, held_out_plans(config, 1, 1000), agent)
    for episode in range(2):
        played.open(episode, GateState.POLICY)
        for number in range(5):
            played.see(number)
            if number < 4:
                played.execute(played.answer)
    (stored,) = played.trials
    report = Importer(config, tmp_path / "none").run(Recording(played.heard))
    assert report.refused[0].endswith("it belongs to an evaluation, which does not say what acted; give --weights FILE")
    report = Importer(config, tmp_path, weights).run(Recording(played.heard))
    assert (report.stored, report.refused) == (1, [])
    (path,) = (tmp_path / "evaluation").iterdir()
    assert path.read_bytes() == encode_trial(stored)
    (same,) = Comparison(config, Recording(played.heard), weights, 0.0).run()
    assert (len(same.deviations), same.first) == (8, None)


def test_recording_groups_by_announcement(live: Tapped) -> None:
    groups: list[RecordedTrial] = list(Recording(live.heard).read())
    assert [(g.key.trial, len(g.segments), g.following is None) for g in groups] == [(0, 2, False), (1, 2, True)]
    assert isinstance(groups[0].segments[0].parts[groups[0].segments[0].opening.reset_stamp]["reward"][1], Reward)  # type: ignore[union-attr]
