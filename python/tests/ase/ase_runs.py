"""Runs of ASE that are killed and restarted: the recipe of the documentation."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE

INTERVAL = 5


def argon(n: int = 2) -> Atoms:
    """A small periodic crystal with a calculator of pure Python."""
    atoms = bulk("Ar", cubic=True, a=5.3).repeat(n)
    atoms.rattle(0.05, seed=1)
    atoms.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=5.0, smooth=True)
    return atoms


def heat(atoms: Atoms, seed: int = 2) -> None:
    """Momenta as of 40 K."""
    deviation = np.sqrt(units.kB * 40 * atoms.get_masses())[:, None]
    atoms.set_momenta(np.random.default_rng(seed).normal(size=(len(atoms), 3)) * deviation)


class Springs(Calculator):
    """Forces that depend on the positions alone, and on no neighbour list that was made some steps ago."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, changes)
        strain = self.atoms.positions / 5.3
        self.results["energy"] = float(0.05 * np.sin(6 * strain).sum())
        self.results["forces"] = -0.05 * 6 / 5.3 * np.cos(6 * strain)


def made(kind: str, atoms: Atoms) -> Any:
    if kind == "verlet":
        return VelocityVerlet(atoms, 2 * units.fs)
    if kind == "langevin":
        return Langevin(atoms, 2 * units.fs, temperature_K=40, friction=0.02, rng=np.random.default_rng(1))
    if kind == "cell":
        return FIRE(FrechetCellFilter(atoms), logfile=None)
    return BFGS(atoms, logfile=None, maxstep=1e-4)


def run(kind: str, folder: str, last_step: int) -> None:
    """Prints its step, so that another process may kill it where it likes."""
    from vldepot.ase import DepotWriter, restart

    path = os.path.join(folder, "run.vld")
    atoms = argon()
    if kind == "verlet":
        atoms.calc = Springs()
    step = restart(path, atoms)
    if step == 0 and kind in ("verlet", "langevin"):
        heat(atoms)
    dyn = made(kind, atoms)
    dyn.nsteps = step
    with DepotWriter(path, atoms, dyn=dyn, append=True, commit_every={"records": 3}) as frames:
        dyn.attach(frames, interval=INTERVAL)
        dyn.attach(lambda: print("at", dyn.nsteps, flush=True), interval=1)
        print("begins", step, flush=True)
        if kind in ("verlet", "langevin"):
            dyn.run(last_step - step)
        else:
            dyn.run(fmax=0, steps=last_step - step)
    print("done", flush=True)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
