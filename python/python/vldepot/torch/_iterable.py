"""Batches from the loader of the library."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
import torch.distributed
import torch.utils.data
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from .. import Depot, Frame, open
from ..errors import InvalidOptions, NotFound
from ._batch import FrameBatch, FrameSample, _concatenate, _value, collate
from ._depots import (
    Join,
    _converted,
    _dtype,
    _Fields,
    _in_all,
    _joins,
    _Path,
    _path,
    _positions,
    read_split,
)
from ._options import _MOST, _MOST_THREADS, _callable, _costs, _whole
from ._workers import Job

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What all processes of a data set see, in shared memory. The main process writes it, apart from `_WORKED`.
# Epoch and batch are those at which the iteration began: a worker may look at them when others have already
# delivered.
_EPOCH, _NEXT, _RANK, _WORLD, _PLANS, _WORKED, _SHARED = range(7)


def _share(tensor: Tensor) -> Tensor:
    return cast(Tensor, tensor.share_memory_())  # type: ignore[no-untyped-call]


class _Source:
    """One of the depots of a `DepotIterable`."""

    def __init__(self, path: str, codec: Any, opening: dict[str, Any], options: dict[str, Any]) -> None:
        self.path, self.codec, self.opening, self.options = path, codec, opening, options
        #: The loader's state at the start, which fixes the records and their order for all processes.
        self.plan: dict[str, Any] | None = None
        self.fields: _Fields | None = None
        self.joins: list[Join] = []
        self.records = 0
        self._batches: dict[int, int] = {}

    def open(self) -> Depot[Any]:
        return open(self.path, self.codec, **self.opening)

    def prepare(
        self,
        fields: Iterable[str] | str | None,
        max_atoms: int | None,
        split: str | None,
        join: Join | Iterable[Join] | None,
    ) -> None:
        """Looks at the depot: its fields, its costs, its plan."""
        with self.open() as depot:
            if depot.codec == "atomic_frame":
                self.fields = _Fields(depot, fields)
            elif fields is not None:
                raise InvalidOptions(
                    f"fields are for depots of frames; {self.path} is one of codec {depot.codec!r}"
                )
            if split is not None:
                self.options["names"] = read_split(depot, split)
            if max_atoms is not None:
                self.options["max_cost"] = max_atoms
                self.options["costs"] = depot.atom_counts(threads=os.cpu_count() or 1)
            self.joins = _joins(join, self.fields, self.path)
            if self.joins:
                self._keep_joined(depot)
            self.plan_from(depot, None)

    def _keep_joined(self, depot: Depot[Any]) -> None:
        names, at = self.options.get("names"), self.options.get("positions")
        at = None if at is None else _positions(at, len(depot))
        missing = None if names is None else next((name for name in names if name not in depot), None)
        if missing is not None:
            raise NotFound(f"{self.path}: no record is called {missing!r}")
        kept = _in_all(self.joins, depot, at, names)
        if kept.all():
            return
        if names is not None:
            self.options["names"] = [name for name, one in zip(names, kept, strict=True) if one]
        else:
            self.options["positions"] = np.flatnonzero(kept) if at is None else at[kept]

    def plan_from(self, depot: Depot[Any], plan: dict[str, Any] | None) -> None:
        if plan is not None:
            plan = {**plan, "epoch": 0, "next_batch": 0, "worker": None}
        loader = depot.loader(**self.options, state=plan)
        self.plan, self.records = loader.state(), loader.records
        self._batches = {}

    def loader(self, depot: Depot[Any], epoch: int, batch: int, stride: int) -> Any:
        """Hands out every `stride`-th batch of an epoch, from number `batch` on."""
        state = {**(self.plan or {}), "epoch": epoch, "next_batch": batch}
        return depot.loader(**self.options, state=state, epoch=epoch, epochs=1, rank=0, world=stride)

    def n_batches(self, epoch: int, depot: Depot[Any] | None = None) -> int:
        """Batches in an epoch, over all ranks. With a budget, epochs differ."""
        key = epoch if "max_cost" in self.options or "batch_bytes" in self.options else 0
        if key not in self._batches:
            if depot is None:
                with self.open() as depot:
                    return self.n_batches(epoch, depot)
            if len(self._batches) > 8:
                self._batches.clear()
            self._batches[key] = self.loader(depot, key, 0, 1).remaining()
        return self._batches[key]


class DepotIterable(IterableDataset[Any]):
    """Batches of a depot, or of several, from the loader of the library.

    Each item is a whole batch: give it to `vldepot.torch.DataLoader`, or to PyTorch's with `batch_size=None`.
    Every record comes exactly once in an epoch, whatever the numbers of workers and ranks. The order depends
    on the seed, the epoch and these options alone: workers and ranks do not change which records make a
    batch, nor the batches' order. In step `k` of an epoch, rank `r` of `world` has batch `k * world + r`.

    Iterating goes on from `state_dict()`, and moves it. At the start of an epoch that is the epoch's first
    batch; after its last batch, it is the first one of the next epoch.

    Args:
        paths: The depot, or several. Each process opens them for itself.
        fields: As in `DepotDataset`.
        batch_size: Records in a batch. The default is 32, unless there is a budget.
        max_atoms: Atoms in a batch, at most, unless one frame alone has more. Making the data set then goes
            over the depot once, to count atoms; `max_cost` with `costs` saves that.
        max_cost: As `max_atoms`, of numbers of your own.
        costs: `[len(depot)]` uint32: what each record costs.
        batch_bytes: Raw bytes in a batch, at most. This costs no look at the records.
        weights: For several depots: their shares of each batch. With 3 and 1, a batch of 32 has 24 and 8
            records. An epoch then lasts until every depot was read once; the others begin again in another
            order. Shares need a `batch_size`, and go with no budget.
        shuffle: `True` or `"windowed"` (reads whole chunks), `"full"` (every order is as likely), or `False`.
        seed: Of the order.
        window: Raw bytes that are shuffled among each other. The default is 64 MiB.
        group: Raw bytes that are read together. The default is 1 MiB.
        lanes: Parts of the depot that are read side by side. Set it to ranks times workers, or a multiple, so
            that no process decodes what another one needs. It is part of the order: keep it when you resume.
        drop_last: Leave the last batch out if it is not full.
        even: Give every rank the same number of batches, as training in step needs: the first batches of the
            epoch come again on the ranks that lack one, or, with `drop_last`, the last step is left out.
        indices, names, split: Which records, of a single depot. A shuffled order does not depend on theirs.
        join: Depots that have more fields of the frames, by the same names.
        dtype: What positions, velocities, forces, charges and masses are converted to; by default they stay
            as they are stored. Numbers that do not fit are an error. Energies, times, cells and stresses stay
            float64.
        transform: What to make of each record, in the worker, before `collate`.
        collate: What to make of the list of a batch's records. By default frames become a `FrameBatch`, as
            long as the transform returns `FrameSample`s; all else stays a list.
        batch_transform: What to make of each batch, in the worker.
        rank, world: Which part of the batches. By default those of `torch.distributed`, if it is initialised
            when the epoch starts.
        on_error: `"skip"` leaves out records that cannot be read. The default stops.
        threads: Threads that read and decode, in each process. The default is 1 in workers, and the number of
            cores, at most 4, without.
        prefetch: Batches that these threads read ahead.
        codec, **options: As in `vldepot.open`.

    Raises:
        InvalidOptions: When options do not go together.
        FileNotFound, NotFound, ..: As `vldepot.open` and `Depot.loader`.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/a.vld"
        >>> with vldepot.create(path) as depot:
        ...     for n in range(10):
        ...         depot[n] = vldepot.Frame(positions=np.zeros((n + 1, 3)), energy=-1.0 * n)
        >>> dataset = vldepot.torch.DepotIterable(path, ["positions", "energy"], max_atoms=20)
        >>> [batch.n_atoms.tolist() for batch in dataset]
        [[1, 2, 3, 4, 5], [6, 7], [8, 9], [10]]
        >>> dataset.state_dict()["epoch"]
        1
    """

    def __init__(
        self,
        paths: _Path | Sequence[_Path],
        fields: Iterable[str] | str | None = None,
        *,
        batch_size: int | None = None,
        max_atoms: int | None = None,
        max_cost: int | None = None,
        costs: Sequence[int] | NDArray[np.integer[Any]] | None = None,
        batch_bytes: int | None = None,
        weights: Sequence[float] | None = None,
        shuffle: bool | Literal["windowed", "full"] = False,
        seed: int = 0,
        window: int | None = None,
        group: int | None = None,
        lanes: int | None = None,
        drop_last: bool = False,
        even: bool = False,
        indices: Iterable[int] | NDArray[np.integer[Any]] | None = None,
        names: Iterable[str | bytes | int] | None = None,
        split: str | None = None,
        join: Join | Iterable[Join] | None = None,
        dtype: torch.dtype | None = None,
        transform: Callable[[Any], Any] | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        batch_transform: Callable[[Any], Any] | None = None,
        rank: int | None = None,
        world: int | None = None,
        on_error: Literal["stop", "skip"] = "stop",
        threads: int | None = None,
        prefetch: int | None = None,
        codec: Any = None,
        **options: Any,
    ) -> None:
        super().__init__()
        single = isinstance(paths, (str, os.PathLike)) or isinstance(paths, Depot)
        all_paths = [
            _path(path) for path in ([cast(_Path, paths)] if single else cast("Sequence[_Path]", paths))
        ]
        budgets = [max_atoms, max_cost, batch_bytes]
        for name, given, least, most in (
            ("batch_size", batch_size, 1, _MOST),
            ("max_atoms", max_atoms, 1, _MOST),
            ("max_cost", max_cost, 1, _MOST),
            ("batch_bytes", batch_bytes, 1, _MOST),
            ("window", window, 1, _MOST),
            ("group", group, 1, _MOST),
            ("lanes", lanes, 1, 1 << 16),
            ("prefetch", prefetch, 0, 1 << 31),
            ("threads", threads, 0, _MOST_THREADS),
            ("rank", rank, 0, _MOST),
            ("world", world, 1, _MOST),
            ("seed", seed, 0, 2**64 - 1),
        ):
            _whole(name, given, least, most)
        _callable(transform=transform, collate=collate, batch_transform=batch_transform)
        choices: tuple[Any, ...]
        chosen: Any
        for name, chosen, choices in (
            ("even", even, (True, False)),
            ("drop_last", drop_last, (True, False)),
            ("shuffle", shuffle, (True, False, None, "windowed", "full")),
            ("on_error", on_error, ("stop", "skip")),
        ):
            if not any(chosen is one or (isinstance(one, str) and chosen == one) for one in choices):
                raise InvalidOptions(f"{name}={chosen!r}: it is one of {', '.join(map(repr, choices))}")
        if sum(one is not None for one in budgets) > 1:
            raise InvalidOptions("max_atoms, max_cost and batch_bytes: give one of them")
        if sum(one is not None for one in (indices, names, split)) > 1:
            raise InvalidOptions("indices, names and split: give one of them")
        if (rank is None) != (world is None) or (world is not None and not 0 <= (rank or 0) < world):
            raise InvalidOptions(f"rank {rank} of {world}: ranks go from 0 to one less than their number")
        if not all_paths:
            raise InvalidOptions("no depots")
        if weights is not None and any(isinstance(weight, (str, bool)) for weight in weights):
            raise TypeError(f"weights are numbers, not {list(weights)!r}")
        if len(all_paths) > 1 and any(one is not None for one in (*budgets, indices, names)):
            raise InvalidOptions("several depots take a batch_size, and no budget, indices or names")
        if batch_size is None and not any(one is not None for one in budgets):
            batch_size = 32
        shares = _shares(len(all_paths), weights, batch_size)
        joins = join if join is None or isinstance(join, Join) else list(join)
        self.even, self.transform, self.collate, self.batch_transform = (
            even,
            transform,
            collate,
            batch_transform,
        )
        self._drop_last, self._threads, self._given = drop_last, threads, (rank, world)
        self._sources = []
        for number, (path, share) in enumerate(zip(all_paths, shares, strict=True)):
            wanted = {
                "batch_size": share,
                "max_cost": max_cost,
                "costs": None if costs is None else _costs(costs),
                "batch_bytes": batch_bytes,
                "shuffle": shuffle or None,
                # Depots of the same size must not be read in the same order.
                "seed": (seed + number * 0x9E3779B97F4A7C15) % 2**64,
                "window": window,
                "group": group,
                "lanes": lanes,
                "drop_last": drop_last,
                "positions": None
                if indices is None
                else np.asarray(indices if isinstance(indices, np.ndarray) else list(indices)),
                "names": None if names is None else list(names),
                "on_error": on_error,
                "prefetch": prefetch,
            }
            source = _Source(
                path, codec, dict(options), {name: one for name, one in wanted.items() if one is not None}
            )
            source.prepare(fields, max_atoms, split, joins)
            self._sources.append(source)
            self._dtype = _dtype(dtype, source.fields)
        self._weigh()
        # Of this process: the epoch and number of the next batch, which iterator counts, and where a worker
        # is.
        self._at = (0, 0)
        self._iteration = 0
        self._plans = 0
        self._restored: tuple[int, int] | None = None
        self._worker_at: tuple[int, int] | None = None
        self._shared = _share(torch.zeros(_SHARED, dtype=torch.int64))

    def _weigh(self) -> None:
        """Refuses what has records and can never give a batch, and depots that have nothing to share."""
        for source in self._sources:
            if (source.records or len(self._sources) > 1) and source.n_batches(0) == 0:
                share = source.options.get("batch_size")
                raise InvalidOptions(
                    f"{source.path} has {source.records} records, which make no batch of {share}"
                )

    # Numbers of batches.

    def _epoch_batches(self, epoch: int) -> int:
        """Batches in an epoch, over all ranks."""
        return max(source.n_batches(epoch) for source in self._sources)

    def _end(self, n: int, start: int, world: int) -> int:
        """Where the batches of an epoch end that goes on at `start`. From `n` on they are repeated ones."""
        if not self.even or n <= start:
            return max(n, start)
        steps = (n - start) // world if self._drop_last else -(-(n - start) // world)
        return start + steps * world

    def _steps(self, epoch: int, start: int, rank: int, world: int) -> int:
        """Batches of a rank, from batch `start` of an epoch on."""
        return len(range(start + rank, self._end(self._epoch_batches(epoch), start, world), world))

    # Where it is.

    def _place(self) -> tuple[int, int]:
        """Rank and world."""
        rank, world = self._given
        if rank is not None and world is not None:
            return rank, world
        if get_worker_info() is not None and int(self._shared[_WORLD]) > 0:
            return int(self._shared[_RANK]), int(self._shared[_WORLD])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def _started(self) -> tuple[int, int]:
        return int(self._shared[_EPOCH]), int(self._shared[_NEXT])

    def _note_place(self) -> tuple[int, int]:
        rank, world = self._place()
        self._shared[_RANK], self._shared[_WORLD] = rank, world
        return rank, world

    @property
    def epoch(self) -> int:
        """The epoch of the next batch, counted from 0."""
        return self._at[0]

    def set_epoch(self, epoch: int, *, restart: bool = False) -> None:
        """Goes to the start of an epoch.

        In the epoch in which it is already, it stays where it is: a training that was resumed in the middle
        of epoch 3 may call `set_epoch(3)`, as those of PyTorch do. `restart=True` goes to the start of that
        one too.
        """
        if epoch < 0:
            raise InvalidOptions(f"epoch {epoch}: they are counted from 0")
        if restart or epoch != self.epoch:
            self._go_to(epoch, 0)

    def _go_to(self, epoch: int, batch: int) -> None:
        self._iteration += 1
        self._at = (epoch, batch)
        self._begin()

    def _begin(self) -> None:
        """Tells workers where to begin."""
        self._shared[_EPOCH], self._shared[_NEXT] = self._at
        self._note_place()

    def n_batches(self) -> int:
        """How many batches this rank has in the current epoch, counted from its start."""
        return self._steps(self.epoch, 0, *self._place())

    def state_dict(self) -> dict[str, Any]:
        """Where it is: a small dict of numbers and text, for a checkpoint.

        Raises:
            RuntimeError: When workers of another `DataLoader` than `vldepot.torch.DataLoader` read ahead:
            only that one
                knows which batches were delivered.
        """
        worker = get_worker_info()
        epoch, batch = self._at
        state: dict[str, Any] = {
            "version": 1,
            "sources": [copy.deepcopy(source.plan) for source in self._sources],
        }
        if worker is not None:
            epoch, batch = self._worker_at or self._restored or self._started()
            state["worker"] = [worker.id, worker.num_workers, *self._place()]
        elif self._shared[_WORKED]:
            raise RuntimeError(
                "workers of torch.utils.data.DataLoader read this data set ahead, so it cannot know which "
                "batches were delivered: use vldepot.torch.DataLoader, and its state_dict()"
            )
        return {**state, "epoch": epoch, "next_batch": batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where another one was, which had the same options.

        The numbers of workers and of ranks, `even`, threads and transforms may differ.

        Raises:
            OtherLoader: When the options or the records are others, so that it would not go on exactly.
            InvalidOptions: When this is not a state, or that of one worker of another number of them.
        """
        if (
            not isinstance(state, Mapping)
            or state.get("version") != 1
            or not isinstance(state.get("sources"), Sequence)
        ):
            raise InvalidOptions("this is not a state of vldepot.torch")
        epoch, batch = state.get("epoch"), state.get("next_batch")
        if not isinstance(epoch, int) or not isinstance(batch, int) or epoch < 0 or batch < 0:
            raise InvalidOptions(f"a state at batch {batch!r} of epoch {epoch!r}")
        worker, one = get_worker_info(), state.get("worker")
        here = None if worker is None else [worker.id, worker.num_workers, *self._place()]
        if one is not None and list(one) != here:
            raise InvalidOptions(
                f"this is the state of worker {one[0]} of {one[1]} on rank {one[2]} of {one[3]}; only that "
                "of vldepot.torch.DataLoader goes on with another number of them"
            )
        if len(state["sources"]) != len(self._sources):
            raise InvalidOptions(f"a state of {len(state['sources'])} depots; here are {len(self._sources)}")
        before = [source.plan for source in self._sources]
        sources = [copy.copy(source) for source in self._sources]
        for source, plan in zip(sources, state["sources"], strict=True):
            with source.open() as depot:
                source.plan_from(depot, plan)
        self._sources = sources
        if worker is not None:
            self._restored = (epoch, batch)
            return
        if [source.plan for source in sources] != before:
            # Workers that already run have another plan.
            self._plans += 1
            self._shared[_PLANS] = self._plans
        self._shared[_WORKED] = 0
        self._go_to(epoch, batch)

    # Iteration.

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            self._shared[_WORKED] = 1
            return (batch for batch, _ in self._marked())
        self._begin()
        return _Iteration(self, self._marked(), alone=True)

    def _marked(self) -> Iterator[tuple[Any, int]]:
        """The batches of this process from here to the end of the epoch, and the place after each."""
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        if worker is not None and int(self._shared[_PLANS]) != self._plans:
            raise RuntimeError(
                "load_state_dict was called after these workers had started: make a new DataLoader"
            )
        rank, world = self._place()
        epoch, start = self._started()
        if worker is not None and self._restored is not None:
            epoch, start = self._restored
            self._restored = None
        return self._batches(Job(epoch, start, rank, world), number, workers)

    def _batches(self, job: Job, worker: int, workers: int) -> Iterator[tuple[Any, int]]:
        """The batches of a job that one of so many workers makes, each with the place after it."""
        epoch, start, rank, world = job
        n, slot, stride = self._epoch_batches(epoch), rank + world * worker, world * workers
        end = self._end(n, start, world)
        readers = [_Reader(self, source, epoch, n, stride, workers) for source in self._sources]
        for number in range(start + slot, end, stride):
            # The last step of an even epoch begins again with the epoch's first batches.
            batch = self._make([reader.read(number % n) for reader in readers])
            after = min(number - rank + world, n)
            self._worker_at = (epoch, number + stride - slot)
            yield batch, after

    def _frames(self, source: _Source, part: Any) -> FrameBatch:
        fields = cast(_Fields, source.fields)
        batch = fields.batch(part.flat, lambda: cast("list[Frame]", part[:]), part.indices)
        for join in source.joins:
            join.add(batch, part.names, source.path)
        return _converted(batch, self._dtype, source.path)

    def _make(self, parts: list[Any]) -> Any:
        """Batches of the loader, one of each depot, as one batch of tensors."""
        sources = self._sources
        if all(source.fields is not None for source in sources):
            batches = [self._frames(source, part) for source, part in zip(sources, parts, strict=True)]
            if self.transform is None and self.collate is None:
                made: Any = _concatenate(batches)
            else:
                made = self._collate([sample for batch in batches for sample in batch])
        else:
            made = self._collate([_value(value) for part in parts for value in part])
        return made if self.batch_transform is None else self.batch_transform(made)

    def _collate(self, records: list[Any]) -> Any:
        if self.transform is not None:
            records = [self.transform(record) for record in records]
        if self.collate is not None:
            return self.collate(records)
        if records and all(isinstance(record, FrameSample) for record in records):
            return collate(records)
        return records

    def __getstate__(self) -> dict[str, Any]:
        if get_worker_info() is None:
            # Another process is about to get it, and does not know the rank.
            self._note_place()
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self._shared.is_shared():  # type: ignore[no-untyped-call]
            self._shared = _share(self._shared)

    def __repr__(self) -> str:
        paths = ", ".join(source.path for source in self._sources)
        return f"<DepotIterable of {sum(source.records for source in self._sources)} records of {paths}>"


def _shares(depots: int, weights: Sequence[float] | None, batch_size: int | None) -> list[int | None]:
    """How many records of each depot are in a batch: the weights' parts, rounded so that they add up."""
    if weights is None:
        weights = [1.0] * depots
    if len(weights) != depots or not all(0 < weight < float("inf") for weight in weights):
        raise InvalidOptions(f"weights {list(weights)}: one for each of the {depots} depots, above 0")
    if depots == 1 or batch_size is None:
        return [batch_size] * depots
    exact = [batch_size * weight / sum(weights) for weight in weights]
    shares = [int(one) for one in exact]
    by_rest = sorted(range(depots), key=lambda number: (shares[number] - exact[number], number))
    for number in by_rest[: batch_size - sum(shares)]:
        shares[number] += 1
    if min(shares) < 1:
        raise InvalidOptions(
            f"a batch of {batch_size} has no record of depot {shares.index(0)}: weights {list(weights)}"
        )
    return list(shares)


class _Reader:
    """Reads batches of one depot in an epoch of all, by their number in it."""

    def __init__(
        self, dataset: DepotIterable, source: _Source, epoch: int, n: int, stride: int, workers: int
    ) -> None:
        self.source, self.stride = source, stride
        self.depot = source.open()
        self.n = source.n_batches(epoch, self.depot)
        #: A depot that is shorter than the longest one begins again, this many times.
        self.first = epoch * -(-n // self.n) if self.n else epoch
        options = source.options
        threads = dataset._threads
        if threads is None and get_worker_info() is not None:
            threads = 1
        if threads is not None:
            self.source = copy.copy(source)
            self.source.options = {**options, "threads": threads}
        self.at: tuple[int, int] | None = None
        self.loader: Any = None

    def read(self, number: int) -> Any:
        epoch, number = self.first + number // self.n, number % self.n
        if self.at != (epoch, number):
            self.loader = self.source.loader(self.depot, epoch, number, self.stride)
        self.at = None
        batch = next(self.loader, None)
        if batch is None or (batch.epoch, batch.number) != (epoch, number):
            raise RuntimeError(
                f"{self.source.path}: asked for batch {number} of epoch {epoch}, but got {batch!r}"
            )
        self.at = (epoch, number + self.stride)
        return batch


class _Iteration(Iterator[Any]):
    """Counts what is delivered: every batch that it hands out moves the data set's place.

    What was only read ahead, by threads or by workers, does not count.
    """

    def __init__(
        self, dataset: DepotIterable, batches: Iterator[tuple[Any, int]], *, alone: bool = False
    ) -> None:
        self._dataset, self._batches, self._alone = dataset, batches, alone
        self._epoch, self._start = dataset._at
        self._world = dataset._place()[1]
        self._total = dataset._steps(self._epoch, self._start, *dataset._place())
        self._n = dataset._epoch_batches(self._epoch)
        self._delivered = 0
        dataset._iteration += 1
        self._iteration = dataset._iteration

    def __len__(self) -> int:
        return self._total - self._delivered

    def __next__(self) -> Any:
        dataset = self._dataset
        if dataset._iteration != self._iteration:
            raise RuntimeError(
                "the data set was iterated anew, or moved: this iterator is of no use any more"
            )
        if self._delivered == self._total:
            # Ends the workers, or leaves them waiting for the next epoch.
            if next(self._batches, None) is not None:
                raise RuntimeError("more batches than an epoch has: were workers given other options?")
            self._move(self._epoch + 1, 0)
            raise StopIteration
        item = next(self._batches, None)
        if item is None:
            raise RuntimeError(f"batches are missing: {self._delivered} came of {self._total}")
        batch, after = item
        self._delivered += 1
        expected = min(self._start + self._delivered * self._world, self._n)
        if after != expected:
            raise RuntimeError(
                f"batches came in another order: the place is {after}, and should be {expected}"
            )
        if self._delivered < self._total:
            self._move(self._epoch, after)
        else:
            self._move(self._epoch + 1, 0)
        return batch

    def _move(self, epoch: int, batch: int) -> None:
        self._dataset._at = (epoch, batch)
        if self._alone:
            self._dataset._begin()
