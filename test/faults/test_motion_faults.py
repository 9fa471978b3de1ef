"""Faults 1 to 7, 22 to 27, 29 and 32 against a driver in another process, judged by what that driver recorded.

Each is played twice: as it is, and without the guard that it names, when the oracle must object. Times are taken in the
driver's process. Where the machine kept robot_node and driver waiting for a processor, limits are longer by that; both
run at a higher priority where this is permitted.
"""

from __future__ import annotations

import pytest

from test.faults.scenarios import SCENARIOS
from test.ros.conftest import Ros


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_arm_is_safe(ros: Ros, name: str) -> None:
    scenario = SCENARIOS[name]
    outcome = scenario.play(scenario.stage(ros))
    print(f"fault {scenario.number}, {name}: {outcome}")
    assert outcome.complaints == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_its_guard_the_oracle_objects(ros: Ros, name: str) -> None:
    scenario = SCENARIOS[name]
    outcome = scenario.play(scenario.stage(ros, guarded=False))
    print(f"fault {scenario.number}, {name} without {scenario.without}: {outcome}; {outcome.complaints}")
    assert outcome.complaints != []
