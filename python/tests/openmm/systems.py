"""Small systems for OpenMM, and a run that is killed and restarted."""

from __future__ import annotations

import os
import sys
from typing import Any

import openmm
from openmm import app, unit

FRAMES = 5
CHECKPOINTS = 35


def argon(n_side: int = 3, seed: int = 1, mass: float = 39.948, name: str = "AR") -> app.Simulation:
    """A periodic Lennard-Jones fluid of `n_side`^3 atoms, with velocities, on the Reference platform."""
    system, topology = openmm.System(), app.Topology()
    chain = topology.addChain()
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    edge = 0.45 * n_side
    force.setCutoffDistance(0.49 * edge)
    positions = []
    for n in range(n_side**3):
        system.addParticle(mass)
        force.addParticle(0.0, 0.34, 0.997)
        residue = topology.addResidue("ARG", chain, str(n + 10))
        topology.addAtom(name, app.Element.getBySymbol("Ar"), residue)
        positions.append([0.45 * (n // n_side**i % n_side) for i in range(3)])
    system.addForce(force)
    box = [[edge, 0, 0], [0, edge, 0], [0, 0, edge]]
    system.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*row) for row in box))
    topology.setPeriodicBoxVectors([openmm.Vec3(*row) for row in box] * unit.nanometer)
    return _simulation(topology, system, positions, seed)


def waters(n: int = 4, seed: int = 1, oxygen: str = "O") -> app.Simulation:
    """Molecules of three atoms with bonds, not periodic, and a virtual site in each."""
    system, topology = openmm.System(), app.Topology()
    bonds, force = openmm.HarmonicBondForce(), openmm.NonbondedForce()
    positions = []
    for molecule in range(n):
        residue = topology.addResidue("HOH", topology.addChain(), str(molecule + 1))
        first = system.getNumParticles()
        for name, symbol, mass in ((oxygen, "O", 15.999), ("H1", "H", 1.008), ("H2", "H", 1.008)):
            system.addParticle(mass)
            force.addParticle(0.0, 0.3 if name == oxygen else 0.1, 0.5)
            topology.addAtom(name, app.Element.getBySymbol(symbol), residue)
        system.addParticle(0.0)
        force.addParticle(0.0, 0.1, 0.0)
        topology.addAtom("M", None, residue)
        system.setVirtualSite(
            first + 3, openmm.ThreeParticleAverageSite(first, first + 1, first + 2, 0.8, 0.1, 0.1)
        )
        atoms = list(residue.atoms())
        for hydrogen in (1, 2):
            bonds.addBond(first, first + hydrogen, 0.1, 1e5)
            topology.addBond(atoms[0], atoms[hydrogen])
            force.addException(first, first + hydrogen, 0.0, 0.1, 0.0)
        x = 0.5 * molecule
        positions += [[x, 0, 0], [x + 0.1, 0, 0], [x, 0.1, 0], [x, 0, 0]]
    system.addForce(bonds)
    system.addForce(force)
    return _simulation(topology, system, positions, seed)


def _simulation(topology: Any, system: Any, positions: Any, seed: int) -> app.Simulation:
    integrator = openmm.LangevinMiddleIntegrator(120.0, 1.0, 0.002)
    integrator.setRandomNumberSeed(seed)
    simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    simulation.context.setPositions(positions)
    simulation.context.computeVirtualSites()
    simulation.context.setVelocitiesToTemperature(120.0, seed)
    return simulation


def run(folder: str, last_step: int) -> None:
    """The recipe of the documentation. Prints its step, so that another process may kill it where it likes."""
    from vldepot.openmm import CheckpointReporter, DepotReporter

    depot, checkpoint = os.path.join(folder, "run.vld"), os.path.join(folder, "run.chk")
    simulation = argon()
    restart = os.path.exists(checkpoint)
    if restart:
        simulation.loadCheckpoint(checkpoint)
    frames = DepotReporter(depot, FRAMES, append=True, startOver=not restart, commit_every={"records": 7})
    # The checkpoints come first in the list, which makes no difference.
    simulation.reporters = [CheckpointReporter(frames, checkpoint, CHECKPOINTS), frames]
    print("begins", simulation.currentStep, flush=True)
    while simulation.currentStep < last_step:
        simulation.step(min(FRAMES, last_step - simulation.currentStep))
        print("at", simulation.currentStep, flush=True)
    frames.close()
    print("done", flush=True)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
