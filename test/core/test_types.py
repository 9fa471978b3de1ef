"""Trials: what a row must look like, and what a trial says about itself."""

import dataclasses
import json

import numpy as np
import pytest
from trial_builder import meta_of, trial_of, truth_of, with_rows

from meld_core.types import ROW_FIELDS, Reward, Trial, TrialId, TrialMeta, check_rows


def test_meta_survives_json_and_is_one_line():
    meta = meta_of(aborted="arm lost", simulated=False)
    text = meta.to_json()
    assert "\n" not in text
    assert TrialMeta.from_json(text) == meta
    assert TrialMeta.from_json(text).id == TrialId("arm", "demo", "0123456789abcdef0123456789abcdef", 7)


def test_trial_id_reads_as_robot_run_counter_boot():
    assert str(meta_of(42).id) == "arm-demo-000042-01234567"


def _header(**changes):
    return json.dumps({**json.loads(meta_of().to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_header(schema=2), "trial header is not of schema 1"),
        ("[]", "trial header is not of schema 1"),
        (_header(colour="red"), "trial header lacks or has extra fields: .*colour"),
        (_header(id={"robot": "arm"}), "trial header lacks or has extra fields: .*run"),
        (_header(id=3), "trial header lacks or has extra fields"),
    ],
)
def test_meta_refuses_other_headers(text, message):
    with pytest.raises(ValueError, match=message):
        TrialMeta.from_json(text)


def test_meta_without_a_field_is_refused():
    raw = json.loads(meta_of().to_json())
    del raw["weights_version"]
    with pytest.raises(ValueError, match=r"lacks or has extra fields: .*weights_version"):
        TrialMeta.from_json(json.dumps(raw))


def test_episodes_are_the_row_ranges():
    trial = trial_of(steps=(3, 2, 1))
    assert len(trial) == 4 + 3 + 2
    assert list(trial.episodes()) == [slice(0, 4), slice(4, 7), slice(7, 9)]


def test_a_missing_reward_is_masked_and_no_zero():
    missing = Reward.missing()
    assert not missing.valid
    assert not missing.success
    assert np.isnan([missing.reward, missing.probability]).all()


def test_rows_are_checked_when_a_trial_is_made():
    trial = trial_of()
    rows = dict(trial.rows)
    del rows["reward"], rows["step"]
    with pytest.raises(ValueError, match=r"trial lacks the rows \['reward', 'step'\]"):
        Trial(trial.meta, rows)


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("reward", np.zeros(7, np.float64), r"row 'reward' is float64\(7,\), expected float32\(7"),
        ("reward", np.zeros(6, np.float32), r"row 'reward' is float32\(6,\), expected float32\(7"),
        ("image", np.zeros((7, 4, 2, 1), np.uint8), r"row 'image' is uint8\(7, 4, 2, 1\)"),
        ("tool_position", np.zeros((7, 2), np.float32), r"row 'tool_position' is float32\(7, 2\)"),
        ("action", np.zeros(7, np.float32), r"row 'action' is float32\(7,\)"),
        ("colour", np.zeros(7, np.float32), r"trial has unknown rows \['colour'\]"),
    ],
)
def test_a_wrong_row_is_named(name, column, message):
    with pytest.raises(ValueError, match=message):
        with_rows(trial_of(), **{name: column})


def test_a_trial_has_rows():
    empty = {name: array[:0] for name, array in trial_of().rows.items()}
    with pytest.raises(ValueError, match="trial has no rows"):
        check_rows(empty, {})


@pytest.mark.parametrize("column", [np.zeros(6, np.float32), np.zeros(7, np.float64), np.zeros((7, 1), np.float32)])
def test_truth_is_one_float32_per_row(column):
    with pytest.raises(ValueError, match=r"row 'truth/port' is .* expected float32\(7,\)"):
        dataclasses.replace(trial_of(), truth={"port": column})


def test_truth_is_not_among_the_rows():
    trial = trial_of()
    assert set(trial.rows) == set(ROW_FIELDS)
    assert set(trial.truth) == set(truth_of(trial.rows)) == {"success", "port"}
