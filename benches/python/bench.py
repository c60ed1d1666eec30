"""Random reads and flat batches of molecules from Python, beside LMDB and Atompack, in one run.

    pip install ./python -r benches/python/requirements.txt
    python benches/python/bench.py --records 100000 --repeat 5

Each cell is the median of `--repeat` passes, which take turns over the engines. The last column is the ratio to the
best rival of the same run. With `--rust`, the library reads the same files without Python, and takes turns too.
Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import vldepot

BATCH = 256
HEAD = struct.Struct("<Id")


class Molecules:
    """Molecules of 10 to 120 atoms, 1.7 kB each: positions, forces, numbers, energy."""

    def __init__(self, n: int) -> None:
        random = np.random.default_rng(7)
        self.sizes = random.integers(10, 121, n)
        self.ends = np.cumsum(self.sizes)
        atoms = int(self.ends[-1])
        self.positions = random.normal(0, 0.5, (atoms, 3)).astype(np.float32)
        self.forces = random.normal(0, 100, (atoms, 3)).astype(np.float32)
        self.numbers = random.choice(np.array([1, 6, 7, 8], np.int32), atoms)
        self.energies = random.normal(-1000, 100, n)
        self.names = [f"molecule_{i:07}" for i in range(n)]
        # Of each molecule: a check of what is read.
        self.sums = np.add.reduceat(self.positions.sum(axis=1, dtype=np.float64), self.ends - self.sizes)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> tuple[Any, Any, Any, float]:
        atoms = slice(self.ends[i] - self.sizes[i], self.ends[i])
        return self.positions[atoms], self.forces[atoms], self.numbers[atoms], float(self.energies[i])


def sum_of(positions: Any) -> float:
    """What training code does at least: it touches every number."""
    return float(positions.sum())


class Vldepot:
    """By name."""

    def __init__(self, molecules: Molecules, folder: Path, preset: str, verify: str = "each_read") -> None:
        self.name = f"vldepot {preset}" + (", verify once" if verify == "once" else "")
        self.path = path = folder / f"{preset}.vld"
        if not path.exists():
            with vldepot.create(path, preset=preset) as depot:
                for i, name in enumerate(molecules.names):
                    positions, forces, types, energy = molecules[i]
                    depot.put(name, positions=positions, forces=forces, types=types, energy=energy)
        self.names = molecules.names
        self.depot = vldepot.open(path, "atomic_frame", verify=verify)

    def get(self, order: list[int]) -> float:
        depot, names, total = self.depot, self.names, 0.0
        for i in order:
            total += sum_of(depot[names[i]].positions)
        return total

    def flat(self, order: list[int]) -> float:
        names, total = [self.names[i] for i in order], 0.0
        for start in range(0, len(names), BATCH):
            batch = self.depot.get_flat(names[start : start + BATCH], "positions")
            total += sum_of(batch.positions)
        return total


class Lmdb:
    """By name: one packed value for each molecule, read as views of the map."""

    name = "LMDB raw"

    def __init__(self, molecules: Molecules, folder: Path) -> None:
        import lmdb

        self.names = [name.encode() for name in molecules.names]
        self.store = lmdb.open(
            str(folder / "molecules.lmdb"), map_size=1 << 33, subdir=False, readahead=False
        )
        for start in range(0, len(molecules), 10_000):
            with self.store.begin(write=True) as transaction:
                for i in range(start, min(start + 10_000, len(molecules))):
                    positions, forces, types, energy = molecules[i]
                    packed = HEAD.pack(len(positions), energy)
                    packed += positions.tobytes() + forces.tobytes() + types.tobytes()
                    transaction.put(self.names[i], packed, append=True)
        self.transaction = self.store.begin(buffers=True)

    def get(self, order: list[int]) -> float:
        get, names, total, head = self.transaction.get, self.names, 0.0, HEAD.size
        for i in order:
            value = get(names[i])
            (n, _) = HEAD.unpack_from(value)
            total += sum_of(np.frombuffer(value, np.float32, 3 * n, head).reshape(n, 3))
        return total

    def flat(self, order: list[int]) -> float:
        get, names, total, head = self.transaction.get, self.names, 0.0, HEAD.size
        for start in range(0, len(order), BATCH):
            parts = []
            for i in order[start : start + BATCH]:
                value = get(names[i])
                (n, _) = HEAD.unpack_from(value)
                parts.append(np.frombuffer(value, np.float32, 3 * n, head))
            total += sum_of(np.concatenate(parts))
        return total


class Atompack:
    """By position: it has no names."""

    def __init__(self, molecules: Molecules, folder: Path, compression: str) -> None:
        import atompack

        self.name = f"Atompack {compression} (by position)"
        path = str(folder / f"{compression}.atp")
        database = atompack.Database(path, compression=compression)
        for start in range(0, len(molecules), 10_000):
            batch = []
            for i in range(start, min(start + 10_000, len(molecules))):
                positions, forces, types, energy = molecules[i]
                molecule = atompack.Molecule.from_arrays(positions, types.astype(np.uint8))
                molecule.forces = forces
                molecule.energy = energy
                batch.append(molecule)
            database.add_molecules(batch)
        database.flush()
        self.database = atompack.Database.open(path)

    def get(self, order: list[int]) -> float:
        database, total = self.database, 0.0
        for i in order:
            total += sum_of(database.get_molecule(i).positions)
        return total

    def flat(self, order: list[int]) -> float:
        total = 0.0
        for start in range(0, len(order), BATCH):
            total += sum_of(self.database.get_molecules_flat(order[start : start + BATCH])["positions"])
        return total


class Rust:
    """The library without Python, on a file that was stored by Python."""

    def __init__(self, program: str, path: Path, order: Path) -> None:
        self.process = subprocess.Popen(
            [program, str(path), str(order)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()

    @staticmethod
    def program() -> str:
        """Builds it."""
        manifest = Path(__file__).resolve().parents[1] / "Cargo.toml"
        build = ["cargo", "bench", "--no-run", "--message-format=json", "--manifest-path", str(manifest)]
        built = subprocess.run(
            [*build, "--bench", "beside_python"], check=True, stdout=subprocess.PIPE, text=True
        )
        messages = [json.loads(line) for line in built.stdout.splitlines()]
        return next(str(message["executable"]) for message in messages if message.get("executable"))

    def answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        if not line:
            raise SystemExit("the Rust program ended")
        return line

    def seconds(self, what: str) -> float:
        assert self.process.stdin
        print(what, file=self.process.stdin, flush=True)
        return float(self.answer())


def beside_rust(
    engines: list[Vldepot], molecules: Molecules, order: list[int], folder: Path, repeat: int
) -> None:
    """What Python costs on top of the library. The cost of an empty call is that of a read without atoms."""
    program, n = Rust.program(), len(molecules)
    (folder / "names.txt").write_text("".join(molecules.names[i] + "\n" for i in order))
    empty = Molecules(n)
    empty.sizes[:], empty.ends[:] = 0, 0
    empty.positions, empty.forces, empty.numbers = empty.positions[:0], empty.forces[:0], empty.numbers[:0]
    (folder / "empty").mkdir()
    pythons = [Vldepot(empty, folder / "empty", "uncompressed"), *engines]
    rusts = [Rust(program, python.path, folder / "names.txt") for python in pythons]
    seconds: dict[tuple[int, str, str], list[float]] = {}
    for _ in range(repeat):
        for k, (python, rust) in enumerate(zip(pythons, rusts, strict=True)):
            for what in ("get", "flat"):
                started = time.perf_counter()
                getattr(python, what)(order)
                seconds.setdefault((k, "python", what), []).append(time.perf_counter() - started)
                seconds.setdefault((k, "rust", what), []).append(rust.seconds(what))
    median = {key: statistics.median(times) for key, times in seconds.items()}
    print(
        "\nPython beside Rust, records/s; the ratio is of speeds, each without the time of reading empty molecules"
    )
    for what in ("get", "flat"):
        for k, python in enumerate(pythons):
            name = "empty molecules" if k == 0 else python.name
            ours, theirs = median[k, "python", what], median[k, "rust", what]
            line = f"  {what:5} {name:26} {n / ours:10,.0f} {n / theirs:10,.0f}"
            if k:
                apart = (theirs - median[0, "rust", what]) / (ours - median[0, "python", what])
                line += f"  {theirs / ours:5.2f} as they are, {apart:5.2f} without"
            print(line)


def measure(work: Callable[[list[int]], float], order: list[int], expected: float) -> float:
    """Records a second."""
    started = time.perf_counter()
    found = work(order)
    seconds = time.perf_counter() - started
    # float32 sums of molecules, added in double.
    if abs(found - expected) > 1e-2 * len(order):
        raise SystemExit(f"the sums differ: {found} instead of {expected}")
    return len(order) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-rivals", action="store_true", help="vldepot alone")
    parser.add_argument(
        "--rust", action="store_true", help="the library without Python too, which is built for it"
    )
    arguments = parser.parse_args()
    molecules = Molecules(arguments.records)
    folder = Path(tempfile.mkdtemp(prefix="vldepot-bench-"))
    try:
        ours = [Vldepot(molecules, folder, preset) for preset in ("uncompressed", "balanced", "fast")]
        engines: list[Any] = list(ours)
        engines.insert(1, Vldepot(molecules, folder, "uncompressed", verify="once"))
        if not arguments.no_rivals:
            engines.append(Lmdb(molecules, folder))
            engines += [Atompack(molecules, folder, compression) for compression in ("none", "lz4", "zstd")]
        order = np.random.default_rng(1).permutation(len(molecules)).tolist()
        expected = float(molecules.sums.sum())
        rates: dict[tuple[str, str], list[float]] = {}
        for _ in range(arguments.repeat):
            for engine in engines:
                for what in ("get", "flat"):
                    rate = measure(getattr(engine, what), order, expected)
                    rates.setdefault((engine.name, what), []).append(rate)
        print(f"{len(molecules)} molecules, Python {sys.version.split()[0]}, numpy {np.__version__}")
        for what, title in (
            ("get", "random get, positions summed"),
            ("flat", f"flat batches of {BATCH}, shuffled"),
        ):
            medians = {engine.name: statistics.median(rates[engine.name, what]) for engine in engines}
            rivals = [rate for name, rate in medians.items() if not name.startswith("vldepot")]
            print(f"\n{title}")
            for name, rate in medians.items():
                ratio = f"{rate / max(rivals):8.2f} x the best rival" if rivals else ""
                print(f"  {name:32} {rate:10,.0f} records/s{ratio}")
        if arguments.rust:
            beside_rust(ours, molecules, order, folder, arguments.repeat)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
