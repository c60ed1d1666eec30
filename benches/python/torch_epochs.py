"""Epochs of a PyTorch training with workers, beside LMDB and Atompack, in one run.

    pip install ./python -r benches/python/requirements-torch.txt
    python benches/python/torch_epochs.py --records 100000 --repeat 5

Every engine stores the same molecules and gives the same batches: positions, forces, numbers and energies of
64 shuffled molecules, one after the other as few tensors. The rivals use PyTorch's DataLoader as it is, with
a map-style data set that each worker opens for itself, and `__getitems__` to read a batch at once. Every
batch is checked for what it sums to. Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.data
from bench import HEAD, Molecules

import vldepot
import vldepot.torch

Arrays = dict[str, Any]


def as_it_is(batch: Any) -> Any:
    return batch


class LmdbDataset(torch.utils.data.Dataset[Any]):
    """By name. The environment is opened in the worker, as the documentation of lmdb asks after a fork."""

    def __init__(self, path: str, names: list[bytes]) -> None:
        self.path, self.names, self.transaction = path, names, None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "transaction": None}

    def __len__(self) -> int:
        return len(self.names)

    def get(self) -> Any:
        if self.transaction is None:
            import lmdb

            store = lmdb.open(
                self.path, subdir=False, readonly=True, lock=False, readahead=False, meminit=False
            )
            self.transaction = store.begin(buffers=True)
        return self.transaction.get

    def read(self, number: int) -> tuple[Any, ...]:
        value = self.get()(self.names[number])
        n, energy = HEAD.unpack_from(value)
        positions = np.frombuffer(value, np.float32, 3 * n, HEAD.size).reshape(n, 3)
        forces = np.frombuffer(value, np.float32, 3 * n, HEAD.size + 12 * n).reshape(n, 3)
        types = np.frombuffer(value, np.int32, n, HEAD.size + 24 * n)
        return positions, forces, types, energy

    def __getitems__(self, numbers: list[int]) -> Arrays:
        """Puts arrays of numpy together, which is faster than to make tensors of each molecule first."""
        positions, forces, types, energies = zip(*map(self.read, numbers), strict=True)
        offsets = np.cumsum([0, *map(len, types)])
        return {
            "positions": torch.from_numpy(np.concatenate(positions)),
            "forces": torch.from_numpy(np.concatenate(forces)),
            "types": torch.from_numpy(np.concatenate(types)),
            "energy": torch.tensor(energies, dtype=torch.float64),
            "offsets": torch.from_numpy(offsets),
        }


class LmdbByOne(LmdbDataset):
    """The same, a molecule at a time: what a data set does that only has `__getitem__`."""

    __getitems__ = None  # type: ignore[assignment]

    def __getitem__(self, number: int) -> Any:
        positions, forces, types, energy = self.read(number)
        # A map of LMDB is read-only, and a tensor is not.
        return [torch.from_numpy(array.copy()) for array in (positions, forces, types)] + [energy]


def collate(samples: list[Any]) -> Arrays:
    positions, forces, types, energies = zip(*samples, strict=True)
    offsets = torch.zeros(len(samples) + 1, dtype=torch.int64)
    torch.cumsum(torch.tensor([len(one) for one in types]), 0, out=offsets[1:])
    energy = torch.tensor(energies, dtype=torch.float64)
    arrays = {"positions": torch.cat(positions), "forces": torch.cat(forces), "types": torch.cat(types)}
    return {**arrays, "energy": energy, "offsets": offsets}


class AtompackDataset(torch.utils.data.Dataset[Any]):
    """By position, a batch at once with `get_molecules_flat`, which its documentation calls the fastest."""

    def __init__(self, path: str, n: int) -> None:
        self.path, self.n, self.database = path, n, None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "database": None}

    def __len__(self) -> int:
        return self.n

    def __getitems__(self, numbers: list[int]) -> Arrays:
        if self.database is None:
            import atompack

            self.database = atompack.Database.open(self.path)
        flat = self.database.get_molecules_flat(numbers)
        names = {"positions": "positions", "forces": "forces", "atomic_numbers": "types", "energy": "energy"}
        arrays = {ours: torch.from_numpy(flat[theirs]) for theirs, ours in names.items()}
        return {**arrays, "offsets": torch.from_numpy(np.cumsum([0, *flat["n_atoms"]]))}


def store_vldepot(molecules: Molecules, path: Path, preset: str) -> str:
    with vldepot.create(path, preset=preset) as depot:
        for i, name in enumerate(molecules.names):
            positions, forces, types, energy = molecules[i]
            depot.put(name, positions=positions, forces=forces, types=types, energy=energy)
    return str(path)


def store_lmdb(molecules: Molecules, path: Path) -> str:
    import lmdb

    with lmdb.open(str(path), map_size=1 << 33, subdir=False) as store:
        for start in range(0, len(molecules), 10_000):
            with store.begin(write=True) as transaction:
                for i in range(start, min(start + 10_000, len(molecules))):
                    positions, forces, types, energy = molecules[i]
                    packed = (
                        HEAD.pack(len(positions), energy)
                        + positions.tobytes()
                        + forces.tobytes()
                        + types.tobytes()
                    )
                    transaction.put(molecules.names[i].encode(), packed, append=True)
    return str(path)


def store_atompack(molecules: Molecules, path: Path, compression: str) -> str:
    import atompack

    database = atompack.Database(str(path), compression=compression)
    for start in range(0, len(molecules), 10_000):
        batch = []
        for i in range(start, min(start + 10_000, len(molecules))):
            positions, forces, types, energy = molecules[i]
            molecule = atompack.Molecule.from_arrays(positions, types.astype(np.uint8))
            molecule.forces, molecule.energy = forces, energy
            batch.append(molecule)
        database.add_molecules(batch)
    database.flush()
    return str(path)


def processor_time() -> float:
    """Seconds that all cores have worked for this process and its workers. On a busy machine it varies less."""
    seconds = 0.0
    for pid in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            user, system = file.read().rsplit(")", 1)[1].split()[11:13]
            seconds += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return seconds


def epoch(loader: Iterable[Any], molecules: Molecules) -> float:
    """Molecules a second."""
    started = time.perf_counter()
    n, positions, energies = 0, 0.0, 0.0
    for batch in loader:
        n += len(batch["energy"]) if isinstance(batch, dict) else len(batch)
        positions += float(batch["positions"].sum())
        energies += float(batch["energy"].sum())
    seconds = time.perf_counter() - started
    right = abs(positions - molecules.sums.sum()) < 1e-2 * len(molecules)
    if n != len(molecules) or not right or abs(energies - molecules.energies.sum()) > 1e-6 * abs(energies):
        raise SystemExit(f"{n} molecules of {len(molecules)}; the sums are {positions} and {energies}")
    return n / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    # Not by fork: Atompack waits for ever in a forked process if its own threads had been used before.
    parser.add_argument("--context", default="forkserver", choices=["forkserver", "spawn"])
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    multiprocessing.set_forkserver_preload(["torch", "vldepot.torch"])
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    torch.set_num_threads(1)
    molecules = Molecules(arguments.records)
    folder = Path(tempfile.mkdtemp(prefix="vldepot-bench-"))
    how: dict[str, Any] = {"num_workers": arguments.workers}
    if arguments.workers:
        how |= {"multiprocessing_context": arguments.context, "persistent_workers": True}
    fields = ["positions", "forces", "types", "energy"]
    lanes = max(arguments.workers, 1)

    def rival(dataset: Any, collate: Any = as_it_is) -> Any:
        return torch.utils.data.DataLoader(dataset, arguments.batch, shuffle=True, collate_fn=collate, **how)

    try:
        loaders: dict[str, Any] = {}
        for preset in ("balanced", "fast", "uncompressed"):
            path = store_vldepot(molecules, folder / f"{preset}.vld", preset)
            for note, window in (("", None), (", small windows", 16 << 20)):
                dataset = vldepot.torch.DepotIterable(
                    path, fields, batch_size=arguments.batch, shuffle=True, lanes=lanes, window=window
                )
                loaders[f"vldepot {preset}{note}"] = vldepot.torch.DataLoader(dataset, **how)
        path = str(folder / "balanced.vld")
        random = vldepot.torch.DepotDataset(path, fields)
        loaders["vldepot balanced, by samplers"] = rival(random, vldepot.torch.collate)
        path = store_lmdb(molecules, folder / "molecules.lmdb")
        names = [name.encode() for name in molecules.names]
        loaders["LMDB raw, batches"] = rival(LmdbDataset(path, names))
        loaders["LMDB raw, one by one"] = rival(LmdbByOne(path, names), collate)
        for compression in ("none", "lz4", "zstd"):
            path = store_atompack(molecules, folder / f"{compression}.atp", compression)
            loaders[f"Atompack {compression}, flat"] = rival(AtompackDataset(path, len(molecules)))
        rates: dict[str, list[float]] = {name: [] for name in loaders}
        costs: dict[str, list[float]] = {name: [] for name in loaders}
        for turn in range(arguments.repeat + 1):
            for name, loader in loaders.items():
                before = processor_time()
                rate = epoch(loader, molecules)
                # The first epoch starts the workers.
                if turn:
                    rates[name].append(rate)
                    costs[name].append((processor_time() - before) / len(molecules) * 1e6)
        print(
            f"{len(molecules)} molecules, batches of {arguments.batch}, "
            f"{arguments.workers} workers by {arguments.context}"
        )
        print(f"Python {sys.version.split()[0]}, PyTorch {torch.__version__}, numpy {np.__version__}")
        medians = {name: statistics.median(rates[name]) for name in loaders}
        best = {
            rival: max(rate for name, rate in medians.items() if name.startswith(rival))
            for rival in ("LMDB", "Atompack")
        }
        for name, rate in medians.items():
            cost = f"{statistics.median(costs[name]):7.1f} µs of a core each"
            ratios = "".join(f"{rate / other:7.2f} x {rival}" for rival, other in best.items())
            print(f"  {name:32} {rate:10,.0f} molecules/s{cost}{ratios}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
