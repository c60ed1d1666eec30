# mypy: disable-error-code="no-untyped-call"
"""Frames of chemfiles in depots, both ways, and with them all formats that chemfiles knows.

Numbers are those of chemfiles (Å, ps, u, e) in float64, and come back to the last bit.

Example:
    import chemfiles
    import vldepot.chemfiles

    with chemfiles.Trajectory("run.xyz") as trajectory:
        vldepot.chemfiles.write("run.vld", trajectory)
    for frame in vldepot.chemfiles.read("run.vld"):
        print(frame.positions)
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ._interchange import ANGSTROM, SYMBOLS, Atoms, Frames, NoFrame, OtherAtoms, UnknownUnit, same, scaled
from ._open import create
from ._vldepot import Frame, Topology

__all__ = ["NoFrame", "OtherAtoms", "UnknownUnit", "read", "write"]

_OWN = "chemfiles."


def write(
    path: str | os.PathLike[str], frames: Iterable[Any], *, same_atoms: bool = False, **options: Any
) -> None:
    """Writes many `chemfiles.Frame`, or a `chemfiles.Trajectory`, to a new depot.

    Kept are positions, velocities, cells, steps, times (the property `time`, in ps), and of the topology
    names, types, atomic numbers, masses, charges, bonds and residues with name and id. Other properties, and
    orders of bonds, are not. The number of atoms may change from frame to frame.

    Args:
        path: The depot's path. Nothing must be there.
        frames: The frames.
        same_atoms: All frames have the topology of the first. It is slow to read, and is read once.
        options: What `vldepot.create` takes, but for `units`.

    Raises:
        vldepot.PathExists: There is something at the path.
    """
    with create(path, "atomic_frame", **{"precision": "float64", **options, "units": ANGSTROM}) as depot:
        depot.metadata["chemfiles"] = {"version": 1}
        name, newest = "", None
        for n, frame in enumerate(frames):
            if newest is None or not same_atoms:
                topology = _from_chemfiles(frame.topology)
                if newest is None or not same(topology.to_dict(), newest.to_dict()):
                    name, newest = f"topology_{n:010}", topology
                    depot.put(name, topology)
            elif len(frame.atoms) != newest.n_atoms:
                raise OtherAtoms(
                    depot.path, f"frame_{n:010}", "number of atoms", newest.n_atoms, len(frame.atoms)
                )
            matrix = frame.cell.matrix
            depot.put(
                f"frame_{n:010}",
                positions=frame.positions.reshape(-1, 3),
                velocities=frame.velocities.reshape(-1, 3) if frame.has_velocities() else None,
                cell=matrix.T if matrix.any() else None,
                pbc=bool(matrix.any()),
                step=frame.step,
                time=float(frame["time"]) if "time" in frame.list_properties() else None,
                topology_name=name,
            )


def read(
    path: str | os.PathLike[str],
    index: slice = slice(None),
    *,
    records: str | Iterable[Any] | None = None,
    atomic_numbers: bool | None = None,
) -> Iterator[Any]:
    """The frames of a depot as `chemfiles.Frame`, one after another.

    chemfiles has no place for forces and energies.

    Args:
        path: The depot.
        index: Which frames.
        records: The names of the frames, or a glob pattern of them. By default all.
        atomic_numbers: Whether the depot's `types` are atomic numbers; by default, if they should be by who
            wrote it.

    Raises:
        UnknownUnit, NoFrame: The depot's units are not known, or there is a frame without positions.
    """
    import chemfiles  # type: ignore[import-not-found,import-untyped,unused-ignore]

    frames = Frames(path, records)
    units = frames.units
    newest: tuple[str | None, Any] = (None, None)
    for number in range(len(frames))[index]:
        found = frames.at(number)
        if found.positions is None or found.positions.shape[1] != 3:
            raise NoFrame(f"{frames.path}: frame {frames.name(number)!r} has no positions [n, 3]")
        if found.topology_name is None or found.topology_name != newest[0]:
            newest = (found.topology_name, _to_chemfiles(Atoms.of(frames, found, atomic_numbers)))
        frame = chemfiles.Frame()
        frame.resize(len(found.positions))
        scaled(found.positions, units.length, frame.positions.reshape(-1, 3))
        if found.velocities is not None:
            frame.add_velocities()
            scaled(found.velocities, units.velocity, frame.velocities.reshape(-1, 3))
        frame.topology = newest[1]
        if found.cell is not None and any(found.pbc or (True,)):
            frame.cell = chemfiles.UnitCell(np.ascontiguousarray(found.cell.T) * units.length)
        if found.step is not None:
            frame.step = found.step
        if found.time is not None:
            frame["time"] = found.time * units.time
        yield frame


def _from_chemfiles(topology: Any) -> Frame:
    import chemfiles

    atoms = list(topology.atoms)
    n_atoms = len(atoms)
    masses, charges = np.array([atom.mass for atom in atoms]), np.array([atom.charge for atom in atoms])
    residues = list(topology.residues)
    # Atoms that are in no residue make one without a name.
    of_atom = np.full(n_atoms, len(residues), np.uint32)
    numbers = np.zeros(len(residues) + 1, np.int64)
    has_number = np.zeros(len(residues) + 1, np.bool_)
    for n, residue in enumerate(residues):
        of_atom[[int(atom) for atom in residue.atoms]] = n
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                numbers[n], has_number[n] = residue.id, True
        except chemfiles.ChemfilesError:  # it has no id
            pass
    bonds = np.asarray(topology.bonds, np.uint32).reshape(-1, 2)
    arrays: dict[str, Any] = {"chemfiles.mass": masses, "chemfiles.charge": charges}
    if has_number[of_atom].any():
        arrays["residue_number"] = numbers[of_atom]
    return Frame(
        n_atoms=n_atoms,
        topology=Topology(
            names=[atom.name for atom in atoms],
            types=np.array([atom.atomic_number for atom in atoms], np.int32),
            masses=masses.astype(np.float32),
            charges=charges.astype(np.float32),
            residues=of_atom,
            residue_names=[*(residue.name for residue in residues), ""],
            bonds=bonds if len(bonds) else None,
        ),
        arrays={
            **arrays,
            "chemfiles.in_residue": of_atom < len(residues),
            "chemfiles.numbered": has_number[of_atom],
        },
        per_frame={
            _OWN + "types": np.frombuffer(json.dumps([atom.type for atom in atoms]).encode(), np.uint8)
        },
    )


def _to_chemfiles(atoms: Atoms) -> Any:
    import chemfiles

    out = chemfiles.Topology()
    own, text = atoms.record.arrays, atoms.record.per_frame.get(_OWN + "types")
    masses, charges = own.get(_OWN + "mass", atoms.masses), own.get(_OWN + "charge", atoms.charges)
    types = None if text is None else json.loads(text.tobytes())
    for n in range(atoms.n_atoms):
        symbol = ""
        if types is not None:
            symbol = types[n]
        elif atoms.types is not None:
            symbol = SYMBOLS[atoms.types[n]] if atoms.are_elements else str(atoms.types[n])
        # chemfiles knows masses of elements, and takes them from what comes first.
        atom = chemfiles.Atom(symbol)
        atom.type, atom.name = symbol, symbol if atoms.names is None else atoms.names[n]
        if masses is not None:
            atom.mass = float(masses[n])
        if charges is not None:
            atom.charge = float(charges[n])
        out.atoms.append(atom)
    if atoms.residue_names is not None or atoms.residue_numbers is not None:
        members: list[list[int]] = [[] for _ in range(atoms.n_residues)]
        in_residue, numbered = own.get(_OWN + "in_residue"), own.get(_OWN + "numbered")
        for n, residue in enumerate(atoms.residue_of_atom):
            if in_residue is None or in_residue[n]:
                members[residue].append(n)
        for n, of in enumerate(members):
            if of:
                has_number = atoms.residue_numbers is not None and (numbered is None or numbered[of[0]])
                number = (
                    int(atoms.residue_numbers[n])
                    if has_number and atoms.residue_numbers is not None
                    else None
                )
                made = chemfiles.Residue(
                    "" if atoms.residue_names is None else atoms.residue_names[n], number
                )
                for each in of:
                    made.atoms.append(each)
                out.residues.append(made)
    for a, b in atoms.bonds if atoms.bonds is not None else ():
        out.add_bond(int(a), int(b))
    return out
