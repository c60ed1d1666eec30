# mypy: disable-error-code="no-untyped-call"
"""Trajectories of mdtraj in depots, both ways.

Numbers are those of mdtraj (nm, ps), and come back to the last bit.

Example:
    import mdtraj
    import vldepot.mdtraj

    vldepot.mdtraj.save(mdtraj.load("run.xtc", top="run.pdb"), "run.vld")
    trajectory = vldepot.mdtraj.load("run.vld")
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from ._interchange import Atoms, Frames, NoFrame, OtherAtoms, SameAtoms, UnknownUnit, box_of, cell_of, scaled
from ._open import create
from ._vldepot import Frame, Topology

__all__ = ["NoFrame", "OtherAtoms", "UnknownUnit", "load", "save"]

_TOPOLOGY = "topology"
_NM = 0.1  # in an Å


def load(
    path: str | os.PathLike[str],
    index: slice = slice(None),
    *,
    records: str | Iterable[Any] | None = None,
    atomic_numbers: bool | None = None,
) -> Any:
    """The `mdtraj.Trajectory` of a depot of frames: positions, times, cells and the topology.

    mdtraj has no place for velocities, forces, energies, masses and charges. A cell that does not lie as
    mdtraj's do (first vector along x, second in the plane of x and y) is turned there, and the positions with
    it.

    Args:
        path: The depot.
        index: Which frames.
        records: The names of the frames, or a glob pattern of them. By default all.
        atomic_numbers: Whether the depot's `types` are atomic numbers; by default, if they should be by who
            wrote it.

    Raises:
        OtherAtoms: A frame has other atoms than the first one.
        ValueError: Some frames have a time or a cell, and some have not.
        UnknownUnit, NoFrame: The depot's units are not known, or there is no frame, or one without positions.
    """
    import mdtraj  # type: ignore[import-not-found,import-untyped,unused-ignore]

    frames = Frames(path, records)
    first = frames.first()
    same, units = SameAtoms(frames, first), frames.units
    topology = _to_mdtraj(Atoms.of(frames, first, atomic_numbers), frames.path)
    numbers = range(len(frames))[index]
    xyz = np.empty((len(numbers), same.n_atoms, 3), np.float32)
    times, boxes = [], []
    for at, number in enumerate(numbers):
        frame = frames.at(number)
        same.check(frames, number, frame)
        if frame.positions is None or frame.positions.shape[1] != 3:
            raise NoFrame(f"{frames.path}: frame {frames.name(number)!r} has no positions [n, 3]")
        is_periodic = frame.cell is not None and all(frame.pbc or (True,))
        box = box_of(frame.cell) if is_periodic and frame.cell is not None else None
        scaled(frame.positions, units.length * _NM, xyz[at], None if box is None else box.rotation)
        if frame.time is not None:
            times.append(frame.time * units.time)
        if box is not None:
            boxes.append((box.lengths * units.length * _NM, box.angles))
    for what, found in (("time", times), ("cell", boxes)):
        if len(found) not in (0, len(numbers)):
            raise ValueError(
                f"{frames.path}: {len(found)} of {len(numbers)} frames have a {what}; mdtraj has all or none"
            )
    frames.depot.close()
    lengths, angles = np.array(boxes).swapaxes(0, 1) if boxes else (None, None)
    return mdtraj.Trajectory(xyz, topology, times or None, lengths, angles)


def save(trajectory: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Writes an `mdtraj.Trajectory` to a new depot: positions, times, cells, and the topology.

    Of the topology, names, elements, bonds, residues (name, number) and which atoms are of one chain are
    kept. Names of chains and segments, serial numbers, formal charges, and types and orders of bonds are not.

    Args:
        trajectory: The trajectory.
        path: The depot's path. Nothing must be there.
        options: What `vldepot.create` takes, but for `units` and `n_atoms`.

    Raises:
        vldepot.PathExists: There is something at the path.
    """
    topology = trajectory.topology
    with create(path, "atomic_frame", units="gromacs", n_atoms=trajectory.n_atoms, **options) as depot:
        depot.metadata["mdtraj"] = {"version": 1}
        fields: dict[str, Any] = {}
        if topology is not None:
            depot.put(_TOPOLOGY, _from_mdtraj(topology))
            fields["topology_name"] = _TOPOLOGY
        for n in range(trajectory.n_frames):
            if trajectory.unitcell_lengths is not None:
                fields["cell"] = cell_of(trajectory.unitcell_lengths[n], trajectory.unitcell_angles[n])
                fields["pbc"] = True
            depot.put(f"frame_{n:010}", positions=trajectory.xyz[n], time=float(trajectory.time[n]), **fields)


def _from_mdtraj(topology: Any) -> Frame:
    atoms, residues = list(topology.atoms), list(topology.residues)
    bonds = np.array([(a.index, b.index) for a, b in topology.bonds], np.uint32).reshape(-1, 2)
    return Frame(
        n_atoms=len(atoms),
        topology=Topology(
            names=[atom.name for atom in atoms],
            types=np.array(
                [0 if atom.element is None else atom.element.atomic_number for atom in atoms], np.int32
            ),
            residues=np.array([atom.residue.index for atom in atoms], np.uint32),
            residue_names=[residue.name for residue in residues],
            bonds=bonds if len(bonds) else None,
        ),
        arrays={
            "residue_number": np.array([atom.residue.resSeq for atom in atoms], np.int32),
            "chain": np.array([atom.residue.chain.index for atom in atoms], np.int32),
        },
    )


def _to_mdtraj(atoms: Atoms, path: str) -> Any:
    import mdtraj

    out = mdtraj.Topology()
    chains = [out.add_chain() for _ in range(int(atoms.chain_of_residue.max()) + 1)]
    # mdtraj numbers atoms residue by residue, and residues chain by chain.
    if (np.diff(atoms.residue_of_atom) < 0).any() or (np.diff(atoms.chain_of_residue) < 0).any():
        raise ValueError(
            f"{path}: mdtraj takes atoms of a residue, and residues of a chain, only one after another"
        )
    residues = [
        out.add_residue(
            "" if atoms.residue_names is None else atoms.residue_names[n],
            chains[chain],
            None if atoms.residue_numbers is None else int(atoms.residue_numbers[n]),
        )
        for n, chain in enumerate(atoms.chain_of_residue)
    ]
    for n, residue in enumerate(atoms.residue_of_atom):
        element = None
        if atoms.are_elements and atoms.types is not None:
            number = int(atoms.types[n])
            element = mdtraj.element.Element.getByAtomicNumber(number) if number else mdtraj.element.virtual
        name = atoms.names[n] if atoms.names is not None else "" if element is None else element.symbol
        out.add_atom(name, element, residues[residue])
    made = list(out.atoms)
    for a, b in atoms.bonds if atoms.bonds is not None else ():
        out.add_bond(made[a], made[b])
    return out
