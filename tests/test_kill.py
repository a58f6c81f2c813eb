"""A short form of tests/kill.py: some kills of one training, one of a short pipeline."""

from __future__ import annotations

import random
from pathlib import Path

from kill import kill_pipelines, kill_trainings


def test_a_killed_training_ends_with_the_same_hashes(tmp_path: Path) -> None:
    tally = kill_trainings(tmp_path, 3, random.Random(1), ("dcgan-mnist",))
    assert (tally.came, tally.same, tally.faults) == (3, 3, [])


def test_a_killed_pipeline_ends_with_the_same_hashes(tmp_path: Path) -> None:
    tally = kill_pipelines(tmp_path, 1, random.Random(5), "train@even")
    assert (tally.came, tally.same, tally.faults) == (1, 1, [])
