"""Size, writing, random reads and scans beside the formats that one moves from, in one run.

    pip install ./python -r benches/python/requirements.txt
    python benches/python/move.py --records 20000 --frames 100 --repeat 3

Every read sums the positions, and the sums are compared. The formats take turns, and each figure is the median of the
passes. Compare figures of one run only. Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench import HEAD, Molecules, sum_of

import vldepot


class Water:
    """Frames of molecular dynamics: positions, velocities and forces of atoms that move a little."""

    def __init__(self, n: int, atoms: int = 4902) -> None:
        random = np.random.default_rng(7)
        self.start = random.uniform(0, 3.7, (atoms, 3))
        self.velocities = random.normal(0, 0.6, (n, atoms, 3)).astype(np.float32)
        self.forces = random.normal(0, 900, (n, atoms, 3)).astype(np.float32)
        self.positions = (self.start + np.cumsum(self.velocities * 0.02, axis=0)).astype(np.float32)
        self.box = np.eye(3) * 3.7
        self.sums = self.positions.sum(axis=(1, 2), dtype=np.float64)

    def __len__(self) -> int:
        return len(self.positions)


class Format:
    """One way to store records. `write` makes the file, `open` what `get` reads from."""

    name: str
    # What of the records it does not keep.
    without = ""
    # It is too slow for more of them.
    at_most: int | None = None

    def write(self, data: Any, path: Path) -> None:
        raise NotImplementedError

    def open(self, data: Any, path: Path) -> None:
        raise NotImplementedError

    def get(self, number: int) -> Any:
        """The positions of one record."""
        raise NotImplementedError

    def scan(self, count: int) -> float:
        return sum(sum_of(self.get(number)) for number in range(count))


def molecules(data: Molecules, n: int) -> Any:
    return (data[i] for i in range(n))


class Depot(Format):
    """By name, with checksums compared."""

    def __init__(self, preset: str) -> None:
        self.name = f"vldepot {preset}"
        self.preset = preset

    def write(self, data: Any, path: Path) -> None:
        with vldepot.create(path, preset=self.preset) as depot:
            if isinstance(data, Water):
                for n in range(len(data)):
                    depot.put(
                        f"frame_{n:06}",
                        positions=data.positions[n],
                        velocities=data.velocities[n],
                        forces=data.forces[n],
                        cell=data.box,
                        step=n,
                    )
                return
            for name, (positions, forces, types, energy) in zip(
                data.names, molecules(data, len(data)), strict=True
            ):
                depot.put(name, positions=positions, forces=forces, types=types, energy=energy)

    def open(self, data: Any, path: Path) -> None:
        self.depot = vldepot.open(path, "atomic_frame")
        self.names = list(self.depot)

    def get(self, number: int) -> Any:
        return self.depot[self.names[number]].positions

    def scan(self, count: int) -> float:
        return sum(sum_of(frame.positions) for frame in self.depot.values())


class DepotOfPositions(Depot):
    """Positions alone, as they are or as XTC gives them back."""

    def __init__(self, preset: str, rounded: bool) -> None:
        super().__init__(preset)
        self.rounded = rounded
        self.name += ", of XTC" if rounded else ", positions"
        self.without = "velocities and forces" + (
            ", and has positions rounded to 0.001 nm" if rounded else ""
        )

    def write(self, data: Any, path: Path) -> None:
        with vldepot.create(path, preset=self.preset) as depot:
            for n in range(len(data)):
                positions = data.positions[n]
                if self.rounded:
                    positions = np.round(positions * np.float32(1000)) * np.float32(0.001)
                depot.put(f"frame_{n:06}", positions=positions, cell=data.box, step=n)


class Lmdb(Format):
    """By name: packed values, uncompressed."""

    name = "LMDB"

    def write(self, data: Any, path: Path) -> None:
        import lmdb

        with lmdb.open(str(path), map_size=1 << 33, subdir=False) as store:
            for start in range(0, len(data), 10_000):
                with store.begin(write=True) as transaction:
                    for i in range(start, min(start + 10_000, len(data))):
                        positions, forces, types, energy = data[i]
                        packed = HEAD.pack(len(positions), energy) + positions.tobytes() + forces.tobytes()
                        transaction.put(data.names[i].encode(), packed + types.tobytes(), append=True)

    def open(self, data: Any, path: Path) -> None:
        import lmdb

        self.names = [name.encode() for name in data.names]
        self.store = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False)
        self.transaction = self.store.begin(buffers=True)

    def get(self, number: int) -> Any:
        value = self.transaction.get(self.names[number])
        (n, _) = HEAD.unpack_from(value)
        return np.frombuffer(value, np.float32, 3 * n, HEAD.size).reshape(n, 3)


class Atompack(Format):
    """By position."""

    def __init__(self, compression: str) -> None:
        self.name = f"Atompack {compression}"
        self.compression = compression

    def write(self, data: Any, path: Path) -> None:
        import atompack

        database = atompack.Database(str(path), compression=self.compression)
        for start in range(0, len(data), 10_000):
            batch = []
            for i in range(start, min(start + 10_000, len(data))):
                positions, forces, types, energy = data[i]
                molecule = atompack.Molecule.from_arrays(positions, types.astype(np.uint8))
                molecule.forces = forces
                molecule.energy = energy
                batch.append(molecule)
            database.add_molecules(batch)
        database.flush()

    def open(self, data: Any, path: Path) -> None:
        import atompack

        self.database = atompack.Database.open(str(path))

    def get(self, number: int) -> Any:
        return self.database.get_molecule(number).positions


class Aselmdb(Format):
    """By row, through `ase.Atoms`."""

    name = "aselmdb"
    at_most = 2_000

    def write(self, data: Any, path: Path) -> None:
        import ase
        import ase.db
        from ase.calculators.singlepoint import SinglePointCalculator

        with ase.db.connect(str(path), type="aselmdb") as database:
            for positions, forces, types, energy in molecules(data, min(len(data), self.at_most or 0)):
                atoms = ase.Atoms(types, positions)
                atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
                database.write(atoms)

    def open(self, data: Any, path: Path) -> None:
        import ase.db

        self.database = ase.db.connect(str(path), type="aselmdb")

    def get(self, number: int) -> Any:
        return self.database.get(number + 1).toatoms().positions


class Hdf5(Format):
    """By position: one dataset for each field, and where each record starts."""

    def __init__(self, compressed: bool) -> None:
        self.name = "HDF5, gzip 1 and shuffle" if compressed else "HDF5"
        self.options = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if compressed else {}

    def write(self, data: Any, path: Path) -> None:
        import h5py

        with h5py.File(path, "w") as file:
            arrays = {"positions": data.positions, "forces": data.forces, "numbers": data.numbers}
            for name, array in arrays.items():
                file.create_dataset(name, data=array, chunks=(8192, *array.shape[1:]), **self.options)
            file["energy"], file["ends"] = data.energies, data.ends

    def open(self, data: Any, path: Path) -> None:
        import h5py

        self.file = h5py.File(path)
        self.positions = self.file["positions"]
        self.ends = [0, *self.file["ends"][:].tolist()]

    def get(self, number: int) -> Any:
        return self.positions[self.ends[number] : self.ends[number + 1]]


class H5md(Format):
    """By position, as MDAnalysis writes it."""

    def __init__(self, compressed: bool) -> None:
        self.name = "H5MD, gzip 1" if compressed else "H5MD"
        self.options: dict[str, Any] = {"compression": "gzip", "compression_opts": 1} if compressed else {}

    def write(self, data: Any, path: Path) -> None:
        import MDAnalysis
        from MDAnalysis.coordinates.H5MD import H5MDWriter

        universe = MDAnalysis.Universe.empty(
            data.positions.shape[1], trajectory=True, velocities=True, forces=True
        )
        units = {"lengthunit": "nm", "timeunit": "ps", "velocityunit": "nm/ps", "forceunit": "kJ/(mol*nm)"}
        with H5MDWriter(
            str(path),
            data.positions.shape[1],
            n_frames=len(data),
            convert_units=False,
            **units,
            **self.options,
        ) as writer:
            moment = universe.trajectory.ts
            for n in range(len(data)):
                moment.positions, moment.velocities, moment.forces = (
                    data.positions[n],
                    data.velocities[n],
                    data.forces[n],
                )
                moment.dimensions = [3.7, 3.7, 3.7, 90, 90, 90]
                moment.data.update(step=n, time=0.5 * n)
                writer.write(universe)

    def open(self, data: Any, path: Path) -> None:
        from MDAnalysis.coordinates.H5MD import H5MDReader

        self.reader = H5MDReader(str(path), convert_units=False)

    def get(self, number: int) -> Any:
        return self.reader[number].positions


class Xtc(Format):
    """By position, rounded to 0.001 nm."""

    name = "XTC"
    without = "velocities and forces, and has positions rounded to 0.001 nm"

    def write(self, data: Any, path: Path) -> None:
        from MDAnalysis.lib.formats.libmdaxdr import XTCFile

        box = data.box.astype(np.float32)
        with XTCFile(str(path), "w") as file:
            for n in range(len(data)):
                file.write(data.positions[n], box, n, 0.5 * n, 1000)

    def open(self, data: Any, path: Path) -> None:
        from MDAnalysis.lib.formats.libmdaxdr import XTCFile

        self.file = XTCFile(str(path))
        # Makes the table of offsets, which MDAnalysis keeps beside the file.
        len(self.file)

    def get(self, number: int) -> Any:
        self.file.seek(number)
        return self.file.read().x


def rate(count: int, work: Callable[[], float], expected: float, tolerance: float) -> float:
    """Records a second."""
    started = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - started
    if abs(found - expected) > tolerance:
        raise SystemExit(f"the sums differ: {found} instead of {expected}")
    return count / seconds


def compare(title: str, data: Any, raw: int, formats: list[Format], repeat: int, folder: Path) -> None:
    measured: dict[str, dict[str, list[float]]] = {}
    folder = Path(tempfile.mkdtemp(dir=folder))
    for turn in range(repeat):
        for number, form in enumerate(formats):
            path = folder / f"{turn}_{number}"
            count = min(len(data), form.at_most or len(data))
            order = np.random.default_rng(1).permutation(count).tolist()
            expected, tolerance = (
                float(data.sums[:count].sum()),
                1e-2 * count + 1e-4 * raw / 4 * bool(form.without),
            )
            figures = measured.setdefault(form.name, {})
            started = time.perf_counter()
            form.write(data, path)
            figures.setdefault("write", []).append(count / (time.perf_counter() - started))
            size = sum(
                p.stat().st_size for p in folder.glob(f"{turn}_{number}*") if not p.name.endswith("-lock")
            )
            figures.setdefault("size", []).append(size / raw * len(data) / count)
            form.open(data, path)
            by_get = lambda form=form, order=order: sum(sum_of(form.get(i)) for i in order)  # noqa: E731
            figures.setdefault("get", []).append(rate(count, by_get, expected, tolerance))
            by_scan = lambda form=form, count=count: form.scan(count)  # noqa: E731
            figures.setdefault("scan", []).append(rate(count, by_scan, expected, tolerance))
    print(f"\n{title}\n")
    print(
        f"| {'':32} | {'size/raw':>8} | {'write/s':>9} | {'get/s':>9} | {'scan/s':>9} | ratio of balanced to it |"
    )
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    middle = {
        name: {what: statistics.median(of) for what, of in figures.items()}
        for name, figures in measured.items()
    }
    ours = middle["vldepot balanced"]
    for form in formats:
        found = middle[form.name]
        ratios = ", ".join(
            f"{what} {ours[what] / found[what]:.2f}" for what in ("size", "write", "get", "scan")
        )
        print(
            f"| {form.name:32} | {found['size']:8.3f} | {found['write']:9,.0f} | {found['get']:9,.0f} "
            f"| {found['scan']:9,.0f} | {ratios} |"
        )
    for form in formats:
        if form.without:
            print(f"\n{form.name} is without {form.without}.", end="")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    depots = [Depot(preset) for preset in ("balanced", "fast", "uncompressed")]
    folder = Path(tempfile.mkdtemp(prefix="vldepot-move-"))
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}")
    try:
        data = Molecules(arguments.records)
        raw = data.positions.nbytes + data.forces.nbytes + data.numbers.nbytes + data.energies.nbytes
        others = [Atompack("zstd"), Atompack("none"), Lmdb(), Aselmdb(), Hdf5(True), Hdf5(False)]
        title = (
            f"{len(data):,} molecules: positions, forces, numbers, energy; {raw / len(data):,.0f} bytes each"
        )
        compare(title, data, raw, [*depots, *others], arguments.repeat, folder)
        water = Water(arguments.frames)
        raw = water.positions.nbytes + water.velocities.nbytes + water.forces.nbytes
        formats = [
            *depots,
            H5md(True),
            H5md(False),
            *(DepotOfPositions("balanced", rounded) for rounded in (False, True)),
            Xtc(),
        ]
        title = f"{len(water):,} frames of {water.positions.shape[1]:,} atoms: positions, velocities, forces"
        compare(title, water, raw, formats, arguments.repeat, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
