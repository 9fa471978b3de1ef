"""How fast whole trials run in one process on one core: simulation, pictures, detector, gate, belief filter and actor.

Usage: python benchmarks/in_process.py [--trials 6]

CPU time, not wall time. The agent is untrained, so that every episode runs to its horizon; its networks have the
default sizes.
"""

from __future__ import annotations

import argparse
import time

import torch

from meld_core.config import load_config
from meld_core.rollout import collect
from meld_core.schedule import held_out_plans


def main() -> None:
    """Print control steps per second of CPU time, the best of three rounds and the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=6, help="trials per round")
    trials = parser.parse_args().trials
    torch.set_num_threads(1)
    config = load_config(overrides=["eval.greedy=false"])
    list(collect(config, None, held_out_plans(config, 1, 0)))  # compiles and caches what is compiled once
    rates = []
    for _ in range(3):
        begin = time.process_time()
        steps = sum(len(t) - config.task.episodes for t in collect(config, None, held_out_plans(config, trials, 1)))
        rates.append(steps / (time.process_time() - begin))
    print(f"in-process: {max(rates):.0f} control steps/s at best, {sorted(rates)[1]:.0f} median (one core, CPU time)")


if __name__ == "__main__":
    main()
