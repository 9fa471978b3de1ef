"""The MuJoCo simulation of the bench. Importing this package registers `meld/Insertion-v0` with gymnasium."""

import gymnasium

ENVIRONMENT_ID = "meld/Insertion-v0"

if ENVIRONMENT_ID not in gymnasium.registry:
    gymnasium.register(id=ENVIRONMENT_ID, entry_point="meld_core.sim.environment:InsertionEnvironment")
