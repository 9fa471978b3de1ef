"""The MuJoCo simulation of the bench. Importing this package registers its two environments with gymnasium.

`meld/Insertion-v0` is one attempt at a task, `meld/InsertionTrial-v0` a whole trial: several attempts at a hidden one.
"""

import gymnasium

ENVIRONMENT_ID = "meld/Insertion-v0"
TRIAL_ENVIRONMENT_ID = "meld/InsertionTrial-v0"

for _id, _entry in (
    (ENVIRONMENT_ID, "meld_core.sim.environment:InsertionEnvironment"),
    (TRIAL_ENVIRONMENT_ID, "meld_core.sim.trial_environment:InsertionTrialEnvironment"),
):
    if _id not in gymnasium.registry:
        gymnasium.register(id=_id, entry_point=_entry)
