"""Random numbers of a training step, fixed by (seed, iteration, rank).

A step that seeds itself needs no random state in a checkpoint: a resumed run
draws what the run that was never stopped would have drawn.
"""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_step(seed: int, iteration: int, rank: int) -> None:
    """Seeds torch (every device), numpy and random for one step.

    Args:
        seed: Seed of the run.
        iteration: Number of the step, from 0.
        rank: Number of this process, so that no two draw alike.
    """
    words = np.random.SeedSequence([seed, iteration, rank]).generate_state(4)
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2])
    random.seed(int(words[3]))
