"""A training loop on shuffled batches of so many atoms, which is stopped and resumed.

python python/examples/train.py molecules.vld
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import vldepot


def make(path: Path, n: int = 2000) -> None:
    """Molecules whose energy is half the sum of their squared coordinates."""
    random = np.random.default_rng(0)
    with vldepot.create(path, "atomic_frame") as depot:
        for i in range(n):
            positions = random.normal(size=(random.integers(5, 50), 3)).astype(np.float32)
            depot[f"molecule_{i:06}"] = vldepot.Frame(
                positions=positions, energy=0.5 * float((positions**2).sum())
            )


class Model:
    """One number: the factor of the sum of squares."""

    def __init__(self) -> None:
        self.factor = 0.0

    def learn(self, batch: vldepot.FlatBatch) -> float:
        assert batch.positions is not None and batch.energy is not None
        squares = np.add.reduceat((batch.positions**2).sum(axis=1), batch.offsets[:-1])
        error = self.factor * squares - batch.energy
        self.factor -= 0.1 * float((error * squares).mean() / (squares**2).mean())
        return float((error**2).mean())


def train(
    depot: vldepot.Depot[vldepot.Frame], model: Model, costs: Any, state: dict[str, Any] | None, most: int
) -> dict[str, Any]:
    """Trains on at most so many batches, and returns where to go on."""
    loader = depot.loader(max_cost=1000, costs=costs, shuffle=True, seed=1, epochs=3, state=state)
    for batch, _ in zip(loader, range(most), strict=False):
        loss = model.learn(batch.flat(["positions", "energy"]))
        if batch.ends_epoch:
            print(
                f"epoch {batch.epoch}: {batch.number + 1} batches, loss {loss:.4f}, factor {model.factor:.4f}"
            )
    return loader.state()


def main() -> None:
    path = Path(sys.argv[1])
    if not path.exists():
        make(path)
    depot = vldepot.open(path, "atomic_frame")
    costs = depot.atom_counts()
    model = Model()
    checkpoint = json.dumps(train(depot, model, costs, None, most=70))
    # Another process may go on from here, on another number of ranks and workers.
    train(depot, model, costs, json.loads(checkpoint), most=10_000)
    assert abs(model.factor - 0.5) < 0.01, model.factor


if __name__ == "__main__":
    main()
