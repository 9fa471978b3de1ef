"""What is counted where the live port may move between episodes: by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scored_trials import told_trial

from meld_core.config import Config, TaskConfig
from meld_core.evaluation.certificate import CertificateError, check_certificate, make_certificate
from meld_core.evaluation.readaptation import readaptation, readaptation_lines
from meld_core.evaluation.scoring import EpisodeScore, Evaluation, score_trial
from meld_core.reporting.report import Shown, write_report

NO, YES = False, True


def test_first_attempt_is_judged_by_the_port_of_its_episode() -> None:
    """Port 1 is live, then 0. The agent enters port 1 first both times: right, then wrong."""
    trial = told_trial([[-1, 1], [-1, 1, 0]], [[NO, YES], [NO, NO, YES]])
    trial = dataclasses.replace(
        trial, meta=dataclasses.replace(trial.meta, task={**trial.meta.task, "live": 1, "later_live": [0]})
    )
    first, second = score_trial(trial)
    assert (first.first_attempt, first.moved) == (YES, NO)
    assert (second.first_attempt, second.moved, second.ports) == (NO, YES, (1, 0))
    told = {**trial.truth, "live": np.ones(5, np.float32)}  # the simulator says that nothing moved
    second = score_trial(dataclasses.replace(trial, truth=told))[1]
    assert (second.first_attempt, second.moved) == (YES, NO)


def episode(success: bool, moved: bool = False, first: bool = False) -> EpisodeScore:
    return EpisodeScore(success, success, 9, 9 if success else None, (0,), first, moved)


SCORES = (
    # moved before 2, stays at 3: fails, succeeds → within 2
    (episode(YES), episode(NO, moved=YES), episode(YES), episode(YES, first=YES)),
    # moved before 3, stays at 4: fails twice
    (episode(YES), episode(YES, first=YES), episode(NO, moved=YES), episode(NO)),
    # moved before 2 and again before 3: only the second change leaves two episodes; both answered at once
    (episode(YES), episode(NO, moved=YES), episode(YES, moved=YES, first=YES), episode(YES)),
    # moved before the last episode only, answered
    (episode(NO), episode(NO), episode(NO), episode(YES, moved=YES)),
)


def test_readaptation_by_hand() -> None:
    """Changes: 5. Within 1: trials 3 (second change) and 4: 2 of 5. Within 2: trials 1 yes, 2 no, 3 yes: 2 of 3.

    Of all: also the first change of trial 3 (answered in episode 3) and the one of trial 4: 4 of 5.
    Wilson for 2 of 3: .2076 to .9385.
    """
    found = readaptation(SCORES, 4)
    counts = {name: (found[name]["successes"], found[name]["trials"]) for name in found if name.startswith("within")}
    assert counts == {"within_1": (2, 5), "within_2": (2, 3), "within_2_of_all": (4, 5)}
    assert found["changes"] == 5
    assert found["within_2"]["wilson95"] == pytest.approx([0.2076, 0.9385], abs=1e-4)
    second, fourth = found["episodes"]["2"], found["episodes"]["4"]
    assert (second["moved"]["success"]["successes"], second["moved"]["success"]["trials"]) == (0, 2)
    assert (second["stayed"]["first_attempt"]["successes"], second["stayed"]["first_attempt"]["trials"]) == (1, 2)
    assert (fourth["moved"]["success"]["rate"], fourth["stayed"]["first_attempt"]["trials"]) == (1.0, 3)


def test_an_aborted_trial_counts_the_episodes_that_it_has() -> None:
    """The port moved before its last episode, which failed: the window is cut short."""
    found = readaptation([(episode(YES), episode(NO, moved=YES))], 4)
    assert (found["within_2"]["trials"], found["within_2_of_all"]["successes"], found["changes"]) == (0, 0, 1)
    assert found["episodes"]["3"]["moved"]["success"]["rate"] is None


def test_certificate_and_its_lines() -> None:
    config = Config(task=TaskConfig(episodes=4, switch_probability=0.4))
    evaluation = Evaluation("held_out", "", 0, 4, 40, True, False, 3, "", 9, SCORES)
    certificate = make_certificate(evaluation, config, command="x", controls={"belief_cleared": evaluation})
    check_certificate(certificate, "here")
    assert certificate["controls"]["belief_cleared"]["readaptation"] == certificate["readaptation"]
    lines = list(readaptation_lines(certificate["readaptation"]))
    assert lines[1] == ("success within 2 episodes", "0.67 [0.21, 0.94]", "3")
    assert len(lines) == 3 + 3 * 2 * 2
    certificate["readaptation"]["within_2"]["successes"] = 3
    with pytest.raises(CertificateError, match="re-adaptation within_2"):
        check_certificate(certificate, "here")
    static = make_certificate(evaluation, Config(), command="x")
    assert "readaptation" not in static


def test_report_tells_of_changes(tmp_path: Path) -> None:
    config = Config(task=TaskConfig(episodes=4, switch_probability=0.4))
    evaluation = Evaluation("held_out", "", 0, 4, 40, True, False, 3, "", 9, SCORES)
    (tmp_path / "curve.png").write_bytes(b"")

    def report(of: Config) -> str:
        shown = Shown({"curve": tmp_path / "curve.png"})
        write_report(tmp_path / "report.html", "run", make_certificate(evaluation, of, command="x"), shown)
        return (tmp_path / "report.html").read_text()

    page = report(config)
    assert "<h2>After the live port has moved</h2>" in page
    assert "<td>trained</td><td>success within 2 episodes</td><td>0.67 [0.21, 0.94]</td><td>3</td>" in page
    assert "After the live port has moved" not in report(Config())
