"""A simulation that is interrupted, and goes on without a gap or a frame twice.

python python/examples/restart.py run.vld
"""

from __future__ import annotations

import sys

import numpy as np

import vldepot

STEPS_A_FRAME = 100


class Springs:
    """Particles on springs, in reduced units: a stand-in for your simulation."""

    def __init__(self, n_atoms: int = 50) -> None:
        random = np.random.default_rng(1)
        self.step = 0
        self.positions = random.normal(size=(n_atoms, 3))
        self.velocities = np.zeros((n_atoms, 3))

    def run_to(self, step: int) -> None:
        while self.step < step:
            self.velocities -= 0.01 * self.positions
            self.positions += 0.01 * self.velocities
            self.step += 1

    def frame(self) -> vldepot.Frame:
        energy = 0.5 * float((self.velocities**2).sum() + (self.positions**2).sum())
        return vldepot.Frame(
            positions=self.positions,
            velocities=self.velocities,
            step=self.step,
            time=self.step * 0.01,
            energy=energy,
        )


def simulate(path: str, system: Springs, last_step: int) -> None:
    """Stores a frame every `STEPS_A_FRAME` steps, up to `last_step`."""
    newest = system.step // STEPS_A_FRAME * STEPS_A_FRAME
    with vldepot.open_or_create(path, "atomic_frame", n_atoms=len(system.positions)) as depot:
        if system.step > 0:
            removed = depot.restart_at_step(system.step, newest=newest).removed
            print(f"restart at step {system.step}: {removed} later frames are removed")
        for step in range(newest + STEPS_A_FRAME, last_step + 1, STEPS_A_FRAME):
            system.run_to(step)
            depot[f"frame_{step:08}"] = system.frame()
        depot.commit()  # before the checkpoint: then no frame before it is ever missing


def main() -> None:
    path = sys.argv[1]
    system = Springs()
    simulate(path, system, 1000)
    # Here a program writes its checkpoint. It goes on, and is killed before the next one.
    checkpoint = (system.step, system.positions.copy(), system.velocities.copy())
    simulate(path, system, 1500)

    system.step, system.positions, system.velocities = checkpoint
    simulate(path, system, 2000)
    with vldepot.open(path, "atomic_frame") as depot:
        steps = [frame.step for frame in depot.values()]
        assert steps == list(range(100, 2001, 100)), steps
        print(depot)


if __name__ == "__main__":
    main()
