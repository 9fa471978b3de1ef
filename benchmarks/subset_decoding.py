"""Does decoding a quarter of the frames cost the published model learning? Equal updates, full and subset by turns.

python benchmarks/subset_decoding.py [--updates N] [--seeds N]

Both start from the same weights and see the same trials of the simulated task in the same order. Every part of the loss
is then measured on other trials, with every frame decoded.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from meld_core.batch import TrialBatch, learner_trial, make_batch
from meld_core.bench.data import Store, demonstrations
from meld_core.config import LossConfig, load_config
from meld_core.learner import Learner

SIZES = [
    "model.kind=slac", "sim.views=[wrist]", "model.views=[wrist]", "model.shrink=1", "slac.base_depth=16",
    "slac.latent2=64", "task.episodes=1", "task.horizon=8", "task.episode_form=fixed_length", "learner.batch_trials=8",
    "learner.relabel=0", "learner.corrections=false", "learner.pretrain_model_updates=1",
    "learner.pretrain_ac_updates=1", "learner.model_rate=1e-3", "learner.device=cpu", "train.demonstrations=240",
]  # fmt: skip
PARTS = ("model/image", "model/reward", "model/kl")
HELD_OUT = 40


def tested(learner: Learner, batch: TrialBatch) -> str:
    """Parts of the loss on other trials, all frames decoded."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        parts = learner.networks.model.loss(batch, LossConfig(image_fraction=1.0))[1]
    return "  ".join(f"{name[6:]} {parts[name].item():.5f}" for name in PARTS)


def main() -> None:
    """One line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    recorded = demonstrations(load_config(overrides=SIZES), 200 + HELD_OUT)
    for seed in range(asked.seeds):
        learners = {}
        for share in (1.0, 0.25):
            config = load_config(overrides=[*SIZES, f"loss.image_fraction={share}", f"train.seed={seed}"])
            learners[share] = Learner(config, Store(recorded[HELD_OUT:]))
            learners[share].train_after(config.train.demonstrations)
        batch = make_batch([learner_trial(trial, config) for trial in recorded[:HELD_OUT]], torch.device("cpu"))
        spent = dict.fromkeys(learners, 0.0)
        for update in range(1, asked.updates + 1):
            for share, learner in learners.items():
                began = time.process_time()
                learner.update_model()
                spent[share] += time.process_time() - began
                if update % (asked.updates // 3) == 0:
                    print(
                        f"seed {seed}  share {share}  update {update}  {spent[share]:.1f} s  {tested(learner, batch)}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
