"""Records by number, for the samplers of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed
import torch.utils.data
from torch.utils.data import Dataset

from .. import Depot
from ..errors import Damaged, InvalidOptions, NotFound
from ._batch import _value
from ._depots import (
    Join,
    _converted,
    _dtype,
    _Fields,
    _in_all,
    _joins,
    _Opens,
    _Path,
    _path,
    _positions,
    read_split,
)
from ._options import _MOST_THREADS, _callable, _whole

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DepotDataset(_Opens, Dataset[Any]):
    """Records by number, for PyTorch's own `DataLoader` and its samplers.

    A batch is read at once (`__getitems__`), and only its fields are decoded. It comes as a `FrameBatch`,
    which `collate` passes on. Random order costs a block for each record, so large compressed depots are
    faster through `DepotIterable`.

    Args:
        path: The depot. Each process opens it when it first reads. It may grow meanwhile: the data set has
            the records that there were when it was made.
        fields: Which fields of frames: those of `Depot.get_flat`, and names of your own arrays. By default
            all fields of the first frame that `Depot.get_flat` knows. A frame that lacks one is an error.
        indices: Positions of the records to take, in this order. By default all.
        names: Names of the records to take, in this order.
        split: A part that `write_split` has kept.
        join: Depots that have more fields of the frames, by the same names.
        dtype: What positions, velocities, forces, charges and masses are converted to; by default they stay
            as they are stored. Numbers that do not fit are an error. Energies, times, cells and stresses stay
            float64.
        transform: What to make of each record, a `FrameSample` or the value of another codec. It runs in the
            worker. Batches are then lists of what it returns.
        threads: Threads that read a batch of values. Frames without a transform are read on one.
        codec: As in `vldepot.open`.
        **options: As in `vldepot.open`, such as `verify="once"` or `cache_bytes=...`.

    Raises:
        NotFound, OutOfRange: When a record or a split is not there.
        InvalidOptions: When more than one of `indices`, `names` and `split` is given.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/a.vld"
        >>> with vldepot.create(path) as depot:
        ...     for n in range(10):
        ...         depot[n] = vldepot.Frame(positions=np.zeros((n + 1, 3)), energy=-1.0 * n)
        >>> dataset = vldepot.torch.DepotDataset(path)
        >>> dataset[3]["positions"].shape
        torch.Size([4, 3])
        >>> loader = torch.utils.data.DataLoader(dataset, 4, shuffle=True, collate_fn=vldepot.torch.collate)
        >>> sorted(len(batch) for batch in loader)
        [2, 4, 4]
    """

    def __init__(
        self,
        path: _Path,
        fields: Iterable[str] | str | None = None,
        *,
        indices: Iterable[int] | NDArray[np.integer[Any]] | None = None,
        names: Iterable[str | bytes | int] | None = None,
        split: str | None = None,
        join: Join | Iterable[Join] | None = None,
        dtype: torch.dtype | None = None,
        transform: Callable[[Any], Any] | None = None,
        threads: int = 1,
        codec: Any = None,
        **options: Any,
    ) -> None:
        _whole("threads", threads, 0, _MOST_THREADS)
        _callable(transform=transform)
        self.path = _path(path)
        self.transform = transform
        self._threads = threads
        self._how = (codec, options)
        self._seen: tuple[str, int, Any] | None = None
        depot = self._open()
        self._seen = (depot.info().data_set_id, len(depot), depot.names_at(-1) if len(depot) else None)
        self._fields = _Fields(depot, fields) if depot.codec == "atomic_frame" else None
        if self._fields is None and fields is not None:
            raise InvalidOptions(
                f"fields are for depots of frames; {self.path} is one of codec {depot.codec!r}"
            )
        if sum(one is not None for one in (indices, names, split)) > 1:
            raise InvalidOptions("indices, names and split: give one of them")
        self._names: list[Any] | None = None
        self._indices: NDArray[np.int64] | None = None
        if split is not None:
            names = read_split(depot, split)
        if names is not None:
            self._names = list(names)
            missing = next((name for name in self._names if name not in depot), None)
            if missing is not None:
                raise NotFound(f"{self.path}: no record is called {missing!r}")
        elif indices is not None:
            self._indices = _positions(indices, len(depot))
        self._dtype = _dtype(dtype, self._fields)
        self._joins = _joins(join, self._fields, self.path)
        kept = _in_all(self._joins, depot, self._indices, self._names)
        if not kept.all():
            if self._names is not None:
                self._names = [name for name, one in zip(self._names, kept, strict=True) if one]
            else:
                self._indices = np.flatnonzero(kept) if self._indices is None else self._indices[kept]

    def _check(self, depot: Depot[Any]) -> None:
        if self._seen is None:
            return
        data_set, length, last = self._seen
        same = depot.info().data_set_id == data_set and len(depot) >= length
        if not same or (length and depot.names_at(length - 1) != last):
            raise Damaged(
                f"{self.path} is not what it was when the data set was made: records were removed or replaced"
            )

    def __len__(self) -> int:
        if self._names is not None:
            return len(self._names)
        if self._indices is not None:
            return len(self._indices)
        assert self._seen is not None
        return self._seen[1]

    def __getitem__(self, number: int) -> Any:
        """A record: a `FrameSample`, a value, or what `transform` makes of it."""
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> Any:
        """The records of these numbers, in this order: a `FrameBatch`, or a list of values or transforms."""
        depot, chosen = self._open(), _positions(numbers, len(self))
        names = None if self._names is None else [self._names[number] for number in chosen]
        at = chosen if self._indices is None else self._indices[chosen]
        if self._fields is None:
            values = (
                depot.at(at, threads=self._threads)
                if names is None
                else depot.get_many(names, threads=self._threads)
            )
            made = [_value(value) for value in values]
            return made if self.transform is None else [self.transform(value) for value in made]
        if names is None:
            batch = self._fields.batch(lambda fields: depot.get_flat_at(at, fields), lambda: depot.at(at), at)
        else:
            # The position of a named record is not known: the number in the data set stands for it.
            batch = self._fields.batch(
                lambda fields: depot.get_flat(names, fields), lambda: depot.get_many(names), chosen
            )
        for join in self._joins:
            join.add(batch, depot.names_at(at) if names is None else names, self.path)
        batch = _converted(batch, self._dtype, self.path)
        return batch if self.transform is None else [self.transform(sample) for sample in batch]

    def __repr__(self) -> str:
        return f"<DepotDataset of {len(self)} records of {self.path}>"
