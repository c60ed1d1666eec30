"""Trajectories of OpenMM: a reporter that stores frames, and checkpoints that a run restarts from.

A `DepotReporter` stores a run of OpenMM in a depot: positions, velocities, forces, energies, the periodic cell, step
and time of each frame, and once what never changes. With `append=True` it goes on from the checkpoint that the
simulation has loaded: frames after it are removed, and a gap or another system is refused.

A `CheckpointReporter` writes the checkpoints for that: it commits the depot first, then replaces the file at once.

    import os
    from vldepot.openmm import CheckpointReporter, DepotReporter

    restart = os.path.exists("run.chk")
    if restart:
        simulation.loadCheckpoint("run.chk")
    frames = DepotReporter("run.vld", 100, append=True, startOver=not restart)
    simulation.reporters.append(frames)
    simulation.reporters.append(CheckpointReporter(frames, "run.chk", 1000))
    simulation.step(1_000_000 - simulation.currentStep)
    frames.close()

All numbers are in OpenMM's own units, which are those of GROMACS: nm, ps, u, kJ/mol.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import errors
from ._open import CreateOptions, create, open_or_create
from ._runs import OtherSystem, Run, newest_step
from ._vldepot import Depot, Frame, Topology

__all__ = ["CheckpointReporter", "DepotReporter", "OtherSystem"]

_TOPOLOGY = "topology"
_METADATA = "openmm"
_OURS = ("n_atoms", "units")


class DepotReporter:
    """Stores frames of an OpenMM simulation in a depot.

    A frame is called `frame_` and its step in ten digits. It has `positions` (nm), `velocities` (nm/ps), `forces`
    (kJ/mol/nm), all `[n_atoms, 3]`; `energy`, the potential one (kJ/mol), and `per_frame["kinetic_energy"]`;
    `time` (ps) and `step`; and where the system is periodic `cell` (`[3, 3]`, one vector per row, nm) and `pbc`.

    The record `topology` has what never changes: names, residues, bonds, atomic numbers as `types` (0 for what is no
    element), masses (u) and molecules, and in its `arrays` the `chain` (from 0) and the `residue_number` of each atom.

    The depot is made or opened when the simulation takes its next step, and committed as `commit_every` says.

    Args:
        file: The depot's path.
        reportInterval: Steps from frame to frame. Frames are those of the multiples of it, as in OpenMM's reporters.
        append: Go on in a depot that is there, from the simulation's current step. One is made where none is.
        enforcePeriodicBox: Whether molecules are put back into the periodic box. By default as OpenMM decides.
        atomSubset: Indices of the atoms to store. By default all.
        velocities: Store velocities.
        forces: Store forces.
        energy: Store the potential and the kinetic energy.
        startOver: With `append`, allow that no frame of the depot stays. A run needs that when it was killed before
            its first checkpoint, and starts again.
        **options: What `vldepot.create` takes: `precision`, `preset`, `commit_every` and so on. Commits are made
            every minute by default.

    Raises:
        vldepot.PathExists: When the path is taken, without `append`.
        TypeError: For an option that does not exist.
        OtherSystem: From the simulation's first `step`, before it moves, when the depot's frames have other atoms.
        vldepot.Gap: From there, when frames before the current step are missing.
        vldepot.RemovesAll: From there, when no frame would stay, without `startOver`. Mostly no checkpoint was
            loaded.
        vldepot.Locked: From there, when another process writes the depot.

    Example:
        frames = DepotReporter("run.vld", 100, precision="float64", commit_every={"seconds": 10})
        simulation.reporters.append(frames)
        simulation.step(10_000)
        frames.close()
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        reportInterval: int,
        append: bool = False,
        enforcePeriodicBox: bool | None = None,
        atomSubset: Iterable[int] | None = None,
        *,
        velocities: bool = True,
        forces: bool = True,
        energy: bool = True,
        startOver: bool = False,
        **options: Any,
    ) -> None:
        self._path = os.fspath(file)
        if reportInterval < 1:
            raise ValueError(f"reportInterval is {reportInterval}, and must be 1 or more")
        for option in options:
            if option in _OURS:
                raise TypeError(f"{option!r} is what the simulation says, and no option of a DepotReporter")
            if option not in CreateOptions.__annotations__:
                raise TypeError(f"vldepot.create has no option {option!r}")
        if not append and os.path.exists(self._path) and os.path.getsize(self._path) > 0:
            why = "there is something at this path; append=True goes on with a depot"
            raise errors.PathExists(f"{self._path}: {why}", path=self._path)
        self._interval = int(reportInterval)
        self._append = append
        self._periodic = enforcePeriodicBox
        self._subset = None if atomSubset is None else _subset(atomSubset)
        self._start_over = startOver
        self._options = {"commit_every": {"seconds": 60.0}, **options}
        fields = [("positions", True), ("velocities", velocities), ("forces", forces), ("energy", energy)]
        self._include = [name for name, wanted in fields if wanted]
        self._depot: Depot[Frame] | None = None
        self._closed = False
        #: The simulation's step when this was last asked, and when it restarted; the step of the newest frame.
        self._step = self._begin = 0
        self._newest: int | None = None
        #: Checkpoints of the current step that wait for its frame.
        self._waiting: list[Callable[[], None]] = []

    @property
    def depot(self) -> Depot[Frame] | None:
        """The open depot. `None` before the simulation's first step with this reporter, and after `close`."""
        return self._depot

    def describeNextReport(self, simulation: Any) -> Any:
        """When the next frame is due and what it needs: a dict, or before OpenMM 8.2 a tuple.

        The first call opens the depot, and removes frames after the current step; so does one after the simulation
        went back to an earlier step.
        """
        step = int(simulation.currentStep)
        if self._depot is None:
            self._open(simulation)
        elif step < self._step:
            self._restart(self._depot, step)
        else:
            self._refuse_gap(step)
        self._step = step
        return _description(self._interval - step % self._interval, self._periodic, self._include)

    def report(self, simulation: Any, state: Any) -> None:
        """Stores the state as a frame. A state of OpenMM must have what `describeNextReport` asked for."""
        unit = _unit()
        depot = self._depot if self._depot is not None else self._open(simulation)
        step = self._step = int(simulation.currentStep)
        fields: dict[str, Any] = {"positions": self._array(state.getPositions(asNumpy=True), unit.nanometer)}
        if "velocities" in self._include:
            speed = unit.nanometer / unit.picosecond
            fields["velocities"] = self._array(state.getVelocities(asNumpy=True), speed)
        if "forces" in self._include:
            force = unit.kilojoule_per_mole / unit.nanometer
            fields["forces"] = self._array(state.getForces(asNumpy=True), force)
        if "energy" in self._include:
            fields["energy"] = float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
            kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
            fields["per_frame"] = {"kinetic_energy": np.float64(kinetic)}
        if _is_periodic(simulation):
            vectors = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
            fields["cell"], fields["pbc"] = np.asarray(vectors, dtype=np.float64), True
        time = float(state.getTime().value_in_unit(unit.picosecond))
        depot.put(f"frame_{step:010}", step=step, time=time, topology_name=_TOPOLOGY, **fields)
        self._newest = step
        if self._waiting:
            self._write_checkpoints(depot)

    def commit(self) -> None:
        """Makes all frames so far durable: they survive a killed process and a power loss."""
        if self._depot is not None:
            self._depot.commit()

    def saveCheckpoint(
        self, simulation: Any, file: str | os.PathLike[str], *, writeState: bool = False
    ) -> None:
        """Commits the depot, then writes a checkpoint of the simulation and replaces `file` by it at once.

        Killed at any moment, `file` is the former checkpoint or the new one, and the depot has all frames before it.

        Args:
            simulation: The simulation that this reporter belongs to.
            file: The checkpoint's path.
            writeState: Write the state as XML for `simulation.loadState`, which other machines read too, rather than
                a checkpoint for `simulation.loadCheckpoint`.
        """
        self.commit()
        _replace(os.fspath(file), _checkpoint(simulation, writeState))

    def close(self) -> None:
        """Commits and closes the depot. The reporter stores nothing after that.

        If that fails, on a full disk, nothing is lost: make room, and call it again.
        """
        self._closed = True
        if self._depot is not None:
            self._depot.close()
            self._depot = None

    def __enter__(self) -> DepotReporter:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<vldepot.openmm.DepotReporter {self._path}: a frame every {self._interval} steps>"

    def _array(self, quantity: Any, unit: Any) -> NDArray[Any]:
        values = np.asarray(quantity.value_in_unit(unit))
        return values if self._subset is None else values[self._subset]

    def _open(self, simulation: Any) -> Depot[Frame]:
        if self._closed:
            raise errors.Closed(f"{self._path}: the reporter was closed; take it out of simulation.reporters")
        system = _System.of(simulation, self._subset)
        how = open_or_create if self._append else create
        try:
            depot = how(self._path, "atomic_frame", **{**self._options, "n_atoms": len(system.types)})
        except errors.CodecParameters as error:
            if error.field == "n_atoms":
                raise OtherSystem(self._path, "number of atoms", error.expected, len(system.types)) from error
            raise
        try:
            step = int(simulation.currentStep)
            if _METADATA in depot.metadata:
                system.compare(self._path, depot)
                stored, given = depot.metadata[_METADATA]["atoms"], _listed(self._subset)
                if stored != given:
                    raise OtherSystem(self._path, "atomSubset", stored, given)
            elif set(depot.keys()) <= {_TOPOLOGY}:
                # It is new, or its writer was killed before the first commit.
                depot.put(_TOPOLOGY, topology=system.topology(), arrays=system.arrays())
                depot.metadata[_METADATA] = {"runs": [[step, self._interval]], "atoms": _listed(self._subset)}
                depot.commit()
            else:
                raise OtherSystem(self._path, "what stored the frames", "no DepotReporter", "a DepotReporter")
            self._restart(depot, step)
        except BaseException:
            depot.close()
            raise
        self._depot = depot
        return depot

    def _refuse_gap(self, step: int) -> None:
        """Refuses to go on when the last frame that was due was not stored: the disk was full, for example."""
        due = step - step % self._interval
        if due > self._begin and (self._newest is None or self._newest < due):
            there = "none" if self._newest is None else f"that of step {self._newest}"
            raise errors.Gap(
                f"{self._path}: the frame of step {due} was not stored, and the newest is {there}: "
                "go on from the last checkpoint",
                path=self._path,
                step=step,
                expected=due,
                found=self._newest,
            )

    def _restart(self, depot: Depot[Frame], step: int) -> None:
        """Makes the depot ready for a run that goes on at `step`."""
        stored = depot.metadata[_METADATA]
        runs = [Run(*run) for run in stored["runs"]]
        newest = newest_step(runs, step)
        # A simulation that is further than where the depot begins has loaded a checkpoint, so it may begin anew.
        everything = self._start_over or step > runs[0].start
        if newest is not None:
            depot.restart_at_step(step, newest)
        elif depot.truncate_after_step(step, dry_run=True).removed:
            depot.truncate_after_step(step, all=everything)
        kept = [run for run in runs if run.start < step]
        if not kept or kept[-1].interval != self._interval:
            kept.append(Run(step, self._interval))
        if kept != runs:
            depot.metadata[_METADATA] = {**stored, "runs": [[run.start, run.interval] for run in kept]}
            depot.commit()
        self._step = self._begin = step
        self._newest, self._waiting = newest, []

    def _save_after_frame(self, simulation: Any, write: Callable[[], None]) -> None:
        """Commits and writes a checkpoint; if the frame of the current step is still to come, right after it."""
        depot = self._depot if self._depot is not None else self._open(simulation)
        self._waiting.append(write)
        step = int(simulation.currentStep)
        is_due = step % self._interval == 0 and self._newest != step and self in simulation.reporters
        if not is_due:
            self._write_checkpoints(depot)

    def _write_checkpoints(self, depot: Depot[Frame]) -> None:
        waiting, self._waiting = self._waiting, []
        depot.commit()
        for write in waiting:
            write()


class CheckpointReporter:
    """Writes checkpoints that a run with a `DepotReporter` restarts from.

    It commits the depot, with the frame of the same step in it, and then writes the checkpoint, and replaces the file
    by it at once. OpenMM's own reporter does not know the depot: a run that restarts from its checkpoints may find
    that frames are missing, and is refused.

    Args:
        frames: The reporter that stores the frames. Its place in `simulation.reporters` does not matter.
        file: The checkpoint's path.
        reportInterval: Steps from checkpoint to checkpoint. It need not be a multiple of the interval of frames.
        writeState: Write XML for `simulation.loadState` rather than a checkpoint for `simulation.loadCheckpoint`.

    Example:
        frames = DepotReporter("run.vld", 100)
        simulation.reporters += [frames, CheckpointReporter(frames, "run.chk", 1000)]
    """

    def __init__(
        self,
        frames: DepotReporter,
        file: str | os.PathLike[str],
        reportInterval: int,
        writeState: bool = False,
    ) -> None:
        if reportInterval < 1:
            raise ValueError(f"reportInterval is {reportInterval}, and must be 1 or more")
        self._frames = frames
        self._path = os.fspath(file)
        self._interval = int(reportInterval)
        self._write_state = writeState

    def describeNextReport(self, simulation: Any) -> Any:
        """When the next checkpoint is due: a dict, or before OpenMM 8.2 a tuple."""
        return _description(self._interval - int(simulation.currentStep) % self._interval, None, [])

    def report(self, simulation: Any, state: Any) -> None:
        """Commits the depot, and writes a checkpoint."""
        # Taken now: nothing moves before the frame of this step is stored.
        data = _checkpoint(simulation, self._write_state)
        self._frames._save_after_frame(simulation, lambda: _replace(self._path, data))

    def __repr__(self) -> str:
        return f"<vldepot.openmm.CheckpointReporter {self._path}: every {self._interval} steps>"


@dataclass(frozen=True)
class _System:
    """What never changes: one entry for each atom that is stored."""

    names: list[str]
    types: NDArray[np.int32]
    masses: NDArray[np.float32]
    residues: NDArray[np.uint32]
    residue_names: list[str]
    residue_numbers: NDArray[np.int32]
    chains: NDArray[np.int32]
    bonds: NDArray[np.uint32]
    molecules: NDArray[np.uint32]

    @classmethod
    def of(cls, simulation: Any, subset: NDArray[np.int64] | None) -> _System:
        unit = _unit()
        atoms = list(simulation.topology.atoms())
        n_atoms = simulation.system.getNumParticles()
        if len(atoms) != n_atoms:
            raise ValueError(f"the topology has {len(atoms)} atoms, and the system {n_atoms} particles")
        chosen = np.arange(n_atoms) if subset is None else subset
        if len(chosen) == 0 or chosen[-1] >= n_atoms or chosen[0] < 0:
            raise ValueError(f"atomSubset must name atoms from 0 to {n_atoms - 1}, at least one")
        place = np.full(n_atoms, -1, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        of_atom = np.array([atom.residue.index for atom in atoms], dtype=np.int64)[chosen]
        residues = list(simulation.topology.residues())
        kept, of_residue = np.unique(of_atom, return_inverse=True)
        bonds = np.array(
            [(bond.atom1.index, bond.atom2.index) for bond in simulation.topology.bonds()], dtype=np.int64
        ).reshape(-1, 2)
        bonds = place[bonds]
        molecules = np.zeros(n_atoms, dtype=np.uint32)
        for number, members in enumerate(simulation.context.getMolecules()):
            molecules[list(members)] = number
        masses = [simulation.system.getParticleMass(int(n)).value_in_unit(unit.dalton) for n in chosen]
        return cls(
            names=[atoms[n].name for n in chosen],
            types=np.array([_number(atoms[n]) for n in chosen], dtype=np.int32),
            masses=np.array(masses, dtype=np.float32),
            residues=of_residue.astype(np.uint32),
            residue_names=[residues[n].name for n in kept],
            residue_numbers=np.array([_residue_number(residues[n]) for n in of_atom], dtype=np.int32),
            chains=np.array([residues[n].chain.index for n in of_atom], dtype=np.int32),
            bonds=bonds[(bonds >= 0).all(axis=1)].astype(np.uint32),
            molecules=molecules[chosen],
        )

    def topology(self) -> Topology:
        return Topology(
            names=self.names,
            types=self.types,
            masses=self.masses,
            residues=self.residues,
            residue_names=self.residue_names,
            bonds=self.bonds if len(self.bonds) else None,
            molecules=self.molecules,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"chain": self.chains, "residue_number": self.residue_numbers}

    def compare(self, path: str, depot: Depot[Frame]) -> None:
        """Refuses a depot of another system, and names the first difference."""
        stored = depot[_TOPOLOGY].topology
        if stored is None:
            raise OtherSystem(path, "the topology", None, f"one of {len(self.types)} atoms")
        expected: list[tuple[str, Any, Any]] = [
            ("name", stored.names, self.names),
            ("atomic number", stored.types, self.types),
            ("mass", stored.masses, self.masses),
            ("residue", stored.residues, self.residues),
        ]
        for what, there, here in expected:
            if there is None or len(there) != len(here):
                raise OtherSystem(path, "number of atoms", 0 if there is None else len(there), len(here))
            different = np.flatnonzero(np.asarray(there) != np.asarray(here))
            if len(different):
                atom = int(different[0])
                in_depot, found = (np.asarray(values)[atom].item() for values in (there, here))
                raise OtherSystem(path, f"{what} of atom {atom}", in_depot, found)


def _unit() -> Any:
    from openmm import unit  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return unit


def _description(steps: int, periodic: bool | None, include: list[str]) -> Any:
    """What is due, as this version of OpenMM takes it."""
    import openmm  # type: ignore[import-not-found,import-untyped,unused-ignore]

    version = tuple(int(part) for part in openmm.version.short_version.split(".")[:2])
    if version >= (8, 2):
        return {"steps": steps, "periodic": periodic, "include": list(include)}
    return (steps, *(field in include for field in ("positions", "velocities", "forces", "energy")), periodic)


def _is_periodic(simulation: Any) -> bool:
    try:
        return bool(simulation.system.usesPeriodicBoundaryConditions())
    except Exception:  # a force that does not say
        return simulation.topology.getPeriodicBoxVectors() is not None


def _number(atom: Any) -> int:
    return 0 if atom.element is None else int(atom.element.atomic_number)


def _residue_number(residue: Any) -> int:
    """The number that the structure's file gives a residue, or its place if that is no number."""
    try:
        number = int(residue.id)
    except (TypeError, ValueError):
        return int(residue.index)
    return number if -(1 << 31) <= number < 1 << 31 else int(residue.index)


def _subset(atoms: Iterable[int]) -> NDArray[np.int64]:
    chosen = np.array(list(atoms), dtype=np.int64)
    if not (np.diff(chosen) > 0).all():
        raise ValueError("atomSubset must be indices in increasing order, each once")
    return chosen


def _listed(subset: NDArray[np.int64] | None) -> list[int] | None:
    return None if subset is None else [int(atom) for atom in subset]


def _checkpoint(simulation: Any, as_state: bool) -> bytes:
    if as_state:
        text = io.StringIO()
        simulation.saveState(text)
        return text.getvalue().encode()
    data = io.BytesIO()
    simulation.saveCheckpoint(data)
    return data.getvalue()


def _replace(path: str, data: bytes) -> None:
    """Replaces a file at once, and durably."""
    new = f"{path}.new"
    with open(new, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    if os.name == "posix":
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
