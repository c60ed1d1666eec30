"""Checks and data loading of several tests. Module-level, so that spawned workers find them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

import vldepot
from vldepot.torch import DataLoader, DepotIterable, FrameBatch

#: Molecules in the fixture `molecules`.
N = 300


def frame(n: int) -> vldepot.Frame:
    """A molecule all of whose numbers follow from `n`."""
    atoms = n % 13 + 1
    positions = n + np.arange(3 * atoms).reshape(atoms, 3) / 64
    return vldepot.Frame(
        positions=positions,
        forces=-positions,
        types=np.full(atoms, n % 7 + 1),
        energy=float(n),
        arrays={"partial": np.arange(atoms, dtype=np.float64) + n},
        per_frame={"dipole": np.array([n, 0.0, 1.0])},
    )


FIELDS = ["positions", "energy", "types"]


def check(batch: FrameBatch, first: int = 0) -> list[int]:
    """Compares a batch with what the molecules are, and gives their numbers."""
    numbers = batch.indices + first
    assert batch.energy.dtype == torch.float64 and torch.equal(batch.energy, numbers.double())
    assert torch.equal(batch.n_atoms, numbers % 13 + 1)
    within = torch.arange(len(batch.positions)) - batch.offsets[batch.batch]
    expected = numbers[batch.batch][:, None] + (3 * within[:, None] + torch.arange(3)) / 64
    assert batch.positions.dtype == torch.float32 and torch.equal(batch.positions, expected.float())
    assert torch.equal(batch.types.long(), (numbers % 7 + 1)[batch.batch])
    return [int(number) for number in numbers]


def dataset(path: Path, **options: Any) -> DepotIterable:
    return DepotIterable(path, FIELDS, **{"batch_size": 7, "shuffle": True, "seed": 5, **options})


def loader(
    path: Path, workers: int = 0, context: str | None = "fork", persistent: bool = False, **options: Any
) -> DataLoader:
    """A loader with a limit to how long it waits, so that no test hangs."""
    how: dict[str, Any] = {}
    if workers:
        how = {"multiprocessing_context": context, "timeout": 60, "persistent_workers": persistent}
    return DataLoader(dataset(path, **options), num_workers=workers, **how)


def drain(loader: Any, most: int | None = None) -> list[list[int]]:
    """The numbers of the frames of the next batches, at most so many."""
    batches: list[list[int]] = []
    if most == 0:
        return batches
    for batch in loader:
        batches.append(check(batch))
        if len(batches) == most:
            break
    return batches


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]
