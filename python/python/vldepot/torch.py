"""Training with PyTorch: depots as data sets, batches as tensors, loaders that resume exactly.

| | |
| --- | --- |
| `DepotIterable` | shuffled batches from the loader of the library: whole chunks are read, workers and ranks share an epoch |
| `DataLoader` | PyTorch's, for a `DepotIterable`: its `state_dict` counts the batches that were *delivered* |
| `DepotDataset` | records by position, for samplers of PyTorch |
| `Join` | another depot that has more fields of the same records, by name |
| `FrameBatch`, `FrameSample`, `collate` | many frames, or one, as tensors |
| `to_data`, `to_batch` | the same for PyTorch Geometric |
| `write_split`, `read_split` | named parts of a depot, such as the training set, kept in the depot |

All open the depot by its path, in each process on its own. So they can be pickled, and work with `fork`, `forkserver`
and `spawn`.

    >>> import tempfile
    >>> import vldepot.torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/train.vld"
    >>> with vldepot.create(path) as depot:
    ...     for n in range(100):
    ...         depot[n] = vldepot.Frame(positions=np.full((n % 5 + 1, 3), float(n)), energy=float(n))
    >>> dataset = vldepot.torch.DepotIterable(path, ["positions", "energy"], batch_size=32, shuffle=True, seed=1)
    >>> loader = vldepot.torch.DataLoader(dataset)
    >>> [(len(batch), batch.energy.shape, batch.positions.dtype) for batch in loader][-1]
    (4, torch.Size([4]), torch.float32)

No tensor shares memory with a file, a map or a cache: each owns what it shows, and may be written to.
"""

from __future__ import annotations

import copy
import math
import operator
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
import torch.distributed
import torch.utils.data
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info
from torch.utils.data._utils.pin_memory import pin_memory as _pinned

from . import Depot, Frame, open
from ._torch_workers import Job, Workers
from .errors import Damaged, InvalidOptions, NotFound

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DataLoader",
    "DepotDataset",
    "DepotIterable",
    "FrameBatch",
    "FrameSample",
    "Join",
    "collate",
    "read_split",
    "to_batch",
    "to_data",
    "write_split",
]

_Path = str | os.PathLike[str]
_PER_ATOM = frozenset({"positions", "velocities", "forces", "charges", "types", "masses"})
_PER_FRAME = frozenset({"energy", "time", "cell", "stress"})
#: The fields that the flat reader gives, in a fixed order.
_FLAT = (*sorted(_PER_ATOM), *sorted(_PER_FRAME))
#: The fields of the precision of the depot. The flat reader gives them in float32 alone.
_FLOATS = frozenset({"positions", "velocities", "forces", "charges"})
#: What `dtype` is about.
_REALS = _FLOATS | {"masses"}
#: Batches of at most so many bytes go through the pipe from a worker, larger ones through shared memory. With the rest of
#: the message they fit into what a pipe takes at once (4096 bytes): of a longer one, a killed worker may leave a part, and
#: the reader would wait for the rest for ever.
_BY_PIPE = 1 << 10
#: Names that are looked up in other depots at a time.
_LOOKED_UP = 1 << 16
#: More threads than this would only be in each other's way.
_MOST_THREADS = 1024
_MOST = 2**63 - 1
#: Where a depot keeps its splits.
_SPLITS = "splits"
#: Depots that a fork inherited. Dropping one might wait for a thread that the fork does not have.
_inherited: list[Any] = []


# -- options ----------------------------------------------------------------------------------------------------------


def _whole(name: str, value: Any, least: int, most: int) -> None:
    """Refuses an option that is not `None` or a whole number in a range."""
    if value is None:
        return
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if not least <= operator.index(value) <= most:
        raise InvalidOptions(
            f"{name}={value}: it is {f'at most {most}' if value > most else f'{least} or more'}"
        )


def _callable(**given: Any) -> None:
    for name, value in given.items():
        if value is not None and not callable(value):
            raise TypeError(f"{name} is a function, not {value!r}")


def _costs(costs: Any) -> NDArray[np.uint32]:
    array = np.asarray(costs)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"costs are a row of whole numbers, not {array.dtype} {list(array.shape)}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**32:
        raise InvalidOptions(f"costs are 0 to 2^32 - 1; here are {array.min()} to {array.max()}")
    return array.astype(np.uint32)


# -- tensors ----------------------------------------------------------------------------------------------------------


def _tensor(array: NDArray[Any]) -> Tensor:
    """The array as a tensor. Read-only arrays, which show a map or a record, are copied."""
    if array.dtype.name == "bfloat16":
        return _tensor(array.view(np.int16)).view(torch.bfloat16)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = np.array(array, order="C", copy=True)
    return torch.from_numpy(array)


def _value(value: Any) -> Any:
    """A record that is no frame: arrays become tensors."""
    return _tensor(value) if isinstance(value, np.ndarray) else value


class FrameSample(dict[str, Tensor]):
    """One frame as a dict of tensors, by the names of its fields.

    Arrays per atom are `[n, ..]`, values per frame have no such axis: `energy` is `[]`. `index`, `[]` int64, is the
    frame's position in the depot.
    """

    #: The names of those that have a row for each atom.
    per_atom: frozenset[str]

    def __init__(
        self, tensors: Mapping[str, Tensor] | None = None, per_atom: Iterable[str] = _PER_ATOM
    ) -> None:
        super().__init__(tensors or {})
        self.per_atom = frozenset(per_atom)

    def __reduce__(self) -> tuple[Any, ...]:
        return FrameSample, (dict(self), self.per_atom)


class FrameBatch:
    """Frames with any numbers of atoms, one after the other, as few tensors.

    Each field is an attribute, and an item: `batch.positions` is `batch["positions"]`. With `n` frames:

    | | shape, dtype |
    | --- | --- |
    | `positions velocities forces` | `[sum n, 3]`, of the depot's precision (float32 by default) |
    | `charges types masses`, others per atom | `[sum n, ..]` |
    | `energy time` | `[n]` float64 |
    | `cell stress` | `[n, 3, 3]` float64 |
    | `offsets` | `[n + 1]` int64: frame `i` has the atoms `offsets[i]` to `offsets[i + 1]` |
    | `batch` | `[sum n]` int64: the frame of each atom, for `scatter` and `index_add` |
    | `indices` | `[n]` int64: positions of the frames in their depot |
    | `sources` | `[n]` int64: the number of the depot, if there are several |

    Units are those of the depot. A batch can be pinned, moved to a device, and iterated as `FrameSample`s.

    Example:
        >>> batch = vldepot.torch.collate([
        ...     vldepot.torch.FrameSample({"positions": torch.zeros(n, 3), "energy": torch.tensor(float(n))}) for n in (1, 2)
        ... ])
        >>> batch.positions.shape, batch.offsets, batch.batch
        (torch.Size([3, 3]), tensor([0, 1, 3]), tensor([0, 1, 1]))
        >>> torch.zeros(len(batch)).index_add(0, batch.batch, batch.positions.sum(dim=1))
        tensor([0., 0.])
    """

    fields: dict[str, Tensor]
    per_atom: frozenset[str]
    offsets: Tensor
    indices: Tensor
    sources: Tensor | None

    def __init__(
        self,
        fields: Mapping[str, Tensor],
        offsets: Tensor,
        indices: Tensor,
        *,
        sources: Tensor | None = None,
        per_atom: Iterable[str] = _PER_ATOM,
    ) -> None:
        self.fields = dict(fields)
        self.per_atom = frozenset(per_atom)
        self.offsets = offsets
        self.indices = indices
        self.sources = sources

    def __getattr__(self, name: str) -> Tensor:
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return cast(Tensor, fields[name])
        raise AttributeError(f"the batch has no {name!r}; its fields are {', '.join(fields)}")

    @property
    def batch(self) -> Tensor:
        """The number of the frame that each atom belongs to: `[sum n]` int64."""
        frames = torch.arange(len(self), device=self.offsets.device)
        return torch.repeat_interleave(frames, self.n_atoms)

    @property
    def n_atoms(self) -> Tensor:
        """The number of atoms of each frame: `[n]` int64."""
        return self.offsets.diff()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, which: str | int) -> Any:
        """A field by its name, or a frame by its number, as a `FrameSample` that shares the batch's memory."""
        if isinstance(which, str):
            return self.fields[which]
        number = which + len(self) if which < 0 else which
        if not 0 <= number < len(self):
            raise IndexError(f"no frame {which}: the batch has {len(self)}")
        atoms = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        sample = {
            name: tensor[atoms] if name in self.per_atom else tensor[number]
            for name, tensor in self.fields.items()
        }
        return FrameSample({**sample, "index": self.indices[number]}, self.per_atom)

    def __iter__(self) -> Iterator[FrameSample]:
        return (self[number] for number in range(len(self)))

    def _map(self, each: Callable[[Tensor], Tensor]) -> FrameBatch:
        return FrameBatch(
            {name: each(tensor) for name, tensor in self.fields.items()},
            each(self.offsets),
            each(self.indices),
            sources=None if self.sources is None else each(self.sources),
            per_atom=self.per_atom,
        )

    def to(self, device: torch.device | str | int, *, non_blocking: bool = False) -> FrameBatch:
        """The same batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> FrameBatch:
        """The same batch in pinned memory. A `DataLoader` with `pin_memory=True` calls it."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _by_parts(self) -> tuple[Any, ...]:
        """What the workers of `DataLoader` pickle: they hand over each tensor as it is."""
        return FrameBatch._restored, (self.__dict__,)

    def __reduce__(self) -> tuple[Any, ...]:
        # All tensors in one buffer. A worker of PyTorch's loader hands over each tensor as a file of its own, through a
        # handshake of about 0.7 ms; a small buffer goes through the pipe instead.
        named = {**self.fields, "": self.offsets, " ": self.indices}
        if self.sources is not None:
            named["  "] = self.sources
        if any(tensor.device.type != "cpu" or tensor.requires_grad for tensor in named.values()):
            return self._by_parts()
        layout, length = [], 0
        for name, tensor in named.items():
            layout.append((name, tensor.dtype, tuple(tensor.shape), length))
            length += -(-tensor.nbytes // 16) * 16
        small = bytearray(length) if length <= _BY_PIPE else None
        buffer = torch.empty(length, dtype=torch.uint8) if small is None else _bytes(small)
        for (_, dtype, shape, start), tensor in zip(layout, named.values(), strict=True):
            _part(buffer, dtype, shape, start).copy_(tensor)
        return _unpack, (buffer if small is None else small, layout, self.per_atom)

    @staticmethod
    def _restored(state: dict[str, Any]) -> FrameBatch:
        batch = FrameBatch.__new__(FrameBatch)
        batch.__dict__.update(state)
        return batch

    def __repr__(self) -> str:
        fields = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in self.fields.items())
        return f"<FrameBatch of {len(self)} frames: {fields}>"


def _bytes(buffer: bytearray) -> Tensor:
    return torch.frombuffer(buffer, dtype=torch.uint8) if buffer else torch.empty(0, dtype=torch.uint8)


def _part(buffer: Tensor, dtype: torch.dtype, shape: tuple[int, ...], start: int) -> Tensor:
    """A tensor of the buffer, which it shares memory with."""
    return buffer[start : start + dtype.itemsize * math.prod(shape)].view(dtype).view(shape)


def _unpack(
    buffer: Tensor | bytearray, layout: list[tuple[Any, ...]], per_atom: frozenset[str]
) -> FrameBatch:
    whole = _bytes(buffer) if isinstance(buffer, bytearray) else buffer
    fields = {name: _part(whole, dtype, shape, start) for name, dtype, shape, start in layout}
    offsets, indices, sources = fields.pop(""), fields.pop(" "), fields.pop("  ", None)
    return FrameBatch(fields, offsets, indices, sources=sources, per_atom=per_atom)


def collate(samples: Iterable[Any]) -> FrameBatch:
    """Puts frames together: the `collate_fn` of a `DataLoader` over a `DepotDataset`.

    Args:
        samples: `FrameSample`s with the same fields, or a `FrameBatch`, which is returned.

    Raises:
        ValueError: When there are no samples, or they have different fields.
    """
    if isinstance(samples, FrameBatch):
        return samples
    samples = list(samples)
    if not samples:
        raise ValueError("no samples to collate")
    first = samples[0]
    per_atom = getattr(first, "per_atom", _PER_ATOM)
    fields: dict[str, Tensor] = {}
    counts: list[int] | None = None
    for sample in samples:
        if sample.keys() != first.keys():
            raise ValueError(f"samples with different fields: {', '.join(first)}, and {', '.join(sample)}")
    for name in first:
        parts = [sample[name] for sample in samples]
        if name in per_atom:
            fields[name] = torch.cat(parts)
            counts = counts or [len(part) for part in parts]
            if [len(part) for part in parts] != counts:
                raise ValueError(f"{name} has other numbers of atoms than the fields before it")
        elif name != "index":
            fields[name] = torch.stack(parts)
    offsets = torch.zeros(len(samples) + 1, dtype=torch.int64)
    if counts is not None:
        offsets[1:] = torch.tensor(counts).cumsum(0)
    indices = [int(sample["index"]) if "index" in first else -1 for sample in samples]
    return FrameBatch(fields, offsets, torch.tensor(indices), per_atom=per_atom)


def _concatenate(batches: Sequence[FrameBatch]) -> FrameBatch:
    """Batches of several depots as one."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    lengths = torch.cat([batch.n_atoms for batch in batches])
    offsets = torch.zeros(len(lengths) + 1, dtype=torch.int64)
    offsets[1:] = lengths.cumsum(0)
    return FrameBatch(
        {name: torch.cat([batch.fields[name] for batch in batches]) for name in first.fields},
        offsets,
        torch.cat([batch.indices for batch in batches]),
        sources=torch.repeat_interleave(
            torch.arange(len(batches)), torch.tensor([len(batch) for batch in batches], dtype=torch.int64)
        ),
        per_atom=first.per_atom,
    )


def _dtype(dtype: Any, fields: _Fields | None) -> torch.dtype | None:
    if dtype is not None and (not isinstance(dtype, torch.dtype) or not dtype.is_floating_point):
        raise TypeError(f"dtype is a type of real numbers of PyTorch, such as torch.float64, not {dtype!r}")
    if dtype is not None and fields is None:
        raise InvalidOptions("dtype is for depots of frames")
    return dtype  # type: ignore[no-any-return]


def _converted(batch: FrameBatch, dtype: torch.dtype | None, path: str) -> FrameBatch:
    """The batch with its numbers of each atom in another precision, if they fit."""
    for name in _REALS & batch.fields.keys() if dtype is not None else ():
        given = batch.fields[name]
        made = given.to(dtype)
        if made.dtype.itemsize < given.dtype.itemsize and made.isinf().sum() > given.isinf().sum():
            most = given[given.isfinite()].abs().max()
            raise ValueError(f"{path}: {name} of up to {most:.6g} do not fit into {dtype}")
        batch.fields[name] = made
    return batch


class _Fields:
    """Which fields of frames are wanted, and how to get them as tensors."""

    def __init__(self, depot: Depot[Any], wanted: Iterable[str] | str | None) -> None:
        if isinstance(wanted, str):
            wanted = [wanted]
        if wanted is None:
            first = depot.at(0).fields if len(depot) else ()
            wanted = [name for name in _FLAT if name in first]
        self.names = tuple(wanted)
        if len(set(self.names)) < len(self.names):
            raise InvalidOptions(f"a field is named twice: {', '.join(self.names)}")
        narrow = depot.precision in (None, "float32")
        self.flat = all(name in _FLAT and (narrow or name not in _FLOATS) for name in self.names)

    def batch(
        self, flat: Callable[[tuple[str, ...]], Any], frames: Callable[[], list[Frame]], at: Any
    ) -> FrameBatch:
        """The fields of many frames, from the flat reader where it has all of them."""
        indices = _tensor(np.array(at, dtype=np.int64))
        if self.flat:
            arrays = flat(self.names).to_dict()
            offsets = _tensor(arrays.pop("offsets"))
            return FrameBatch({name: _tensor(arrays[name]) for name in self.names}, offsets, indices)
        return self.gather(frames(), indices)

    def gather(self, frames: list[Frame], indices: Tensor) -> FrameBatch:
        """The fields of frames, among them arrays that have names of their own."""
        offsets = np.zeros(len(frames) + 1, dtype=np.int64)
        np.cumsum([frame.n_atoms or 0 for frame in frames], out=offsets[1:])
        fields: dict[str, Tensor] = {}
        per_atom = set(_PER_ATOM)
        for name in self.names:
            parts = []
            for frame in frames:
                value = getattr(frame, name, None) if name in _FLAT else None
                if value is None and name in frame.arrays:
                    value = frame.arrays[name]
                    per_atom.add(name)
                elif value is None and name not in _FLAT:
                    value = frame.per_frame.get(name)
                if value is None:
                    raise NotFound(
                        f"frame {frame.name!r} has no field {name!r}; it has {', '.join(frame.fields)}"
                    )
                parts.append(np.asarray(value))
            if not parts:
                fields[name] = torch.empty(0)
            else:
                fields[name] = _tensor(np.concatenate(parts) if name in per_atom else np.stack(parts))
        return FrameBatch(fields, _tensor(offsets), indices, per_atom=per_atom)


# -- splits -----------------------------------------------------------------------------------------------------------


def write_split(depot: Depot[Any], split: str, names: Iterable[str | int]) -> None:
    """Keeps the names of a part of the depot, such as the training set, in the depot's metadata.

    Names still say the same after records were removed and the depot was compacted; positions do not. The metadata is
    read as a whole, so for some 10^6 records and more, keep an array of positions in a file of its own instead, and
    give it as `indices`.

    Args:
        depot: A depot that is open for writing.
        split: What to call the part. One of that name is replaced.
        names: Names of records, text or numbers.

    Raises:
        NotFound: When there is no record of that name.
        TypeError: When a name is neither text nor a number.

    Example:
        >>> depot = vldepot.memory("bytes")
        >>> depot.update({"a": b"1", "b": b"2", "c": b"3"})
        >>> vldepot.torch.write_split(depot, "train", ["c", "a"])
        >>> vldepot.torch.read_split(depot, "train")
        ['c', 'a']
    """
    kept = []
    for name in names:
        if not isinstance(name, (str, int, np.integer)) or isinstance(name, bool):
            raise TypeError(f"a split keeps names that are text or numbers, not {name!r}")
        if name not in depot:
            raise NotFound(f"split {split!r}: no record is called {name!r}")
        kept.append(name if isinstance(name, str) else int(name))
    if len(set(kept)) < len(kept):
        raise InvalidOptions(f"split {split!r} names a record twice")
    depot.metadata[_SPLITS] = {**depot.metadata.get(_SPLITS, {}), split: kept}


def read_split(depot: Depot[Any], split: str) -> list[str | int]:
    """The names of the records of a part of the depot, in the order in which they were given.

    Raises:
        NotFound: When the depot has no split of that name.
    """
    splits = depot.metadata.get(_SPLITS, {})
    if split not in splits:
        raise NotFound(f"no split {split!r} in {depot.path}; there are: {', '.join(splits) or 'none'}")
    return cast("list[str | int]", splits[split])


# -- depots that are open ---------------------------------------------------------------------------------------------


def _path(path: _Path) -> str:
    if isinstance(path, Depot):
        raise TypeError("give the depot's path: each process opens the file on its own")
    return os.path.abspath(os.fspath(path))


class _Opens:
    """Has a depot open, in each process on its own."""

    path: str
    _how: tuple[Any, dict[str, Any]]
    _depot: Depot[Any] | None = None
    _pid = 0

    def _open(self) -> Depot[Any]:
        """This process's depot."""
        if self._depot is None or self._pid != os.getpid():
            if self._depot is not None:
                _inherited.append(self._depot)
            codec, options = self._how
            depot = open(self.path, codec, **options)
            self._check(depot)
            self._depot, self._pid = depot, os.getpid()
        return self._depot

    def _check(self, depot: Depot[Any]) -> None:
        """Refuses a depot that is not the one that was seen before."""

    def close(self) -> None:
        """Closes this process's depot. It opens again when it is needed."""
        if self._depot is not None and self._pid == os.getpid():
            self._depot.close()
            self._depot = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_depot": None, "_pid": 0}


# -- by name ----------------------------------------------------------------------------------------------------------


class Join(_Opens):
    """Another depot that has records of the same names, such as labels or features: for `join=` of a data set.

    What it has of a record joins the fields of the frame of that name. Names that only this depot has do not matter.

    Args:
        path: The depot: one of frames, or one of arrays.
        fields: Of frames, which fields; the default is as in `DepotDataset`. Of arrays, what to call them: one name.
        per_atom: Of arrays: whether they have a row for each atom, `[n, ..]`. They then become `[sum n, ..]`. Else all
            have the same shape, and become `[frames, ..]`.
        missing: What to do about a record of the data set that is not here: `"error"`, or `"skip"`, which leaves the
            record out of the data set. All names are looked up when the data set is made, which takes some seconds for
            10^6 of them, and a byte of memory for each.
        codec, **options: As in `vldepot.open`. Records are read one by one; `cache_bytes` keeps what lies beside them.

    Raises:
        InvalidOptions: When the depot has records of another kind, or fields do not fit it.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with vldepot.create(folder + "/frames.vld") as depot:
        ...     depot.update({n: vldepot.Frame(positions=np.zeros((n + 1, 3))) for n in range(4)})
        >>> with vldepot.create(folder + "/labels.vld", "array") as depot:
        ...     depot.update({n: np.array([n, n / 2]) for n in range(1, 9)})
        >>> labels = vldepot.torch.Join(folder + "/labels.vld", "gap", missing="skip")
        >>> dataset = vldepot.torch.DepotIterable(folder + "/frames.vld", "positions", join=labels)
        >>> [(batch.n_atoms.tolist(), batch.gap.tolist()) for batch in dataset]
        [([2, 3, 4], [[1.0, 0.5], [2.0, 1.0], [3.0, 1.5]])]
    """

    def __init__(
        self,
        path: _Path,
        fields: Iterable[str] | str | None = None,
        *,
        per_atom: bool = False,
        missing: Literal["error", "skip"] = "error",
        codec: Any = None,
        **options: Any,
    ) -> None:
        if missing not in ("error", "skip"):
            raise InvalidOptions(f'missing={missing!r}: it is "error" or "skip"')
        self.path, self.missing, self.per_atom = _path(path), missing, per_atom
        self._how = (codec, options)
        depot = self._open()
        self._fields: _Fields | None = None
        if depot.codec == "atomic_frame":
            if per_atom:
                raise InvalidOptions(
                    "per_atom is for depots of arrays: frames know which fields have a row for each atom"
                )
            self._fields = _Fields(depot, fields)
            self.names = self._fields.names
        elif depot.codec == "array":
            if not isinstance(fields, str):
                raise InvalidOptions(f"{self.path} has arrays: give one name to call them by, not {fields!r}")
            self.names = (fields,)
        else:
            raise InvalidOptions(
                f"{self.path}: frames and arrays can be joined, not records of codec {depot.codec!r}"
            )

    def add(self, batch: FrameBatch, names: list[Any], whose: str) -> None:
        """Puts what the records of these names have into a batch of frames of the depot `whose`."""
        depot, counts, per_atom = self._open(), batch.n_atoms, frozenset[str]()
        if self._fields is not None:
            here = self._fields.batch(
                lambda fields: depot.get_flat(names, fields), lambda: depot.get_many(names), range(len(names))
            )
            fields, lengths = here.fields, here.n_atoms
            per_atom = here.per_atom & here.fields.keys()
        else:
            arrays = depot.get_many(names)
            if self.per_atom:
                lengths = torch.tensor(
                    [array.shape[0] if array.ndim else -1 for array in arrays], dtype=torch.int64
                )
                per_atom = frozenset(self.names)
            shapes = {array.shape[1:] if self.per_atom and array.ndim else array.shape for array in arrays}
            if len(shapes) > 1 or len({array.dtype for array in arrays}) > 1:
                kinds = ", ".join(sorted({f"{array.dtype} {list(array.shape)}" for array in arrays})[:4])
                raise ValueError(f"{self.path}: arrays of a batch have other shapes or types: {kinds}")
            put = np.concatenate if self.per_atom else np.stack
            fields = {self.names[0]: _tensor(put(arrays)) if arrays else torch.empty(0)}
        if per_atom and not torch.equal(lengths, counts):
            other = int((lengths != counts).nonzero()[0])
            raise ValueError(
                f"record {names[other]!r} has {counts[other]} atoms in {whose}, and {lengths[other]} in {self.path}"
            )
        batch.fields.update(fields)
        batch.per_atom |= per_atom


def _joins(join: Join | Iterable[Join] | None, fields: _Fields | None, path: str) -> list[Join]:
    """The depots to join, if all have fields of their own."""
    joins = [join] if isinstance(join, Join) else list(join or ())
    for one in joins:
        if not isinstance(one, Join):
            raise TypeError(f"join takes vldepot.torch.Join, one or several, not {one!r}")
    if not joins:
        return joins
    if fields is None:
        raise InvalidOptions(f"depots are joined to depots of frames, and {path} is none")
    names = [*fields.names, *(name for one in joins for name in one.names)]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InvalidOptions(
            f"more than one depot is to give {', '.join(sorted(twice))}: name the fields of each"
        )
    return joins


def _in_all(
    joins: list[Join], depot: Depot[Any], at: NDArray[np.int64] | None, names: list[Any] | None
) -> Any:
    """Which of the records chosen by position or name are in all joined depots: `[len]` bool."""
    n = len(depot) if at is None and names is None else len(cast(Any, at if names is None else names))
    kept = np.ones(n, dtype=np.bool_)
    for start in range(0, n if joins else 0, _LOOKED_UP):
        part = slice(start, min(start + _LOOKED_UP, n))
        if names is not None:
            some = names[part]
        else:
            some = depot.names_at(np.arange(part.start, part.stop) if at is None else at[part])
        for join in joins:
            other = join._open()
            here = np.fromiter((name in other for name in some), np.bool_, len(some))
            if join.missing == "error" and not here.all():
                first = some[int(np.flatnonzero(~here)[0])]
                raise NotFound(
                    f'{join.path} has no record {first!r}, as {depot.path} has; missing="skip" leaves it out'
                )
            kept[part] &= here
    return kept


# -- by position ------------------------------------------------------------------------------------------------------


class DepotDataset(_Opens, Dataset[Any]):
    """Records by number, for PyTorch's own `DataLoader` and its samplers.

    A batch is read at once (`__getitems__`), and only its fields are decoded. It comes as a `FrameBatch`, which
    `collate` passes on. Random order costs a block for each record, so large compressed depots are faster through
    `DepotIterable`.

    Args:
        path: The depot. Each process opens it when it first reads. It may grow meanwhile: the data set has the records
            that there were when it was made.
        fields: Which fields of frames: those of `Depot.get_flat`, and names of your own arrays. By default all fields
            of the first frame that `Depot.get_flat` knows. A frame that lacks one is an error.
        indices: Positions of the records to take, in this order. By default all.
        names: Names of the records to take, in this order.
        split: A part that `write_split` has kept.
        join: Depots that have more fields of the frames, by the same names.
        dtype: What positions, velocities, forces, charges and masses are converted to; by default they stay as they are
            stored. Numbers that do not fit are an error. Energies, times, cells and stresses stay float64.
        transform: What to make of each record, a `FrameSample` or the value of another codec. It runs in the worker.
            Batches are then lists of what it returns.
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
        ...     depot.update({n: vldepot.Frame(positions=np.zeros((n + 1, 3)), energy=-1.0 * n) for n in range(10)})
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
        """The records of these numbers, in this order: a `FrameBatch`, or a list of values or of transformed records."""
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


def _positions(numbers: Any, length: int) -> NDArray[np.int64]:
    """Positions from the front, checked."""
    given = np.asarray(numbers if isinstance(numbers, (np.ndarray, Sequence)) else list(numbers))
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise TypeError(f"positions are a row of whole numbers, not {given.dtype} {list(given.shape)}")
    at = given.astype(np.int64)
    wrong = at[(at < -length) | (at >= length)]
    if wrong.size:
        raise IndexError(f"no record {wrong[0]}: there are {length}")
    return np.where(at < 0, at + length, at)


# -- the loader of the library ----------------------------------------------------------------------------------------

# What all processes of a data set see, in shared memory. The main process writes it, apart from `_WORKED`. Epoch and
# batch are those at which the iteration began: a worker may look at them when others have already delivered.
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

    Each item is a whole batch: give it to `vldepot.torch.DataLoader`, or to PyTorch's with `batch_size=None`. Every
    record comes exactly once in an epoch, whatever the numbers of workers and ranks. The order depends on the seed, the
    epoch and these options alone: workers and ranks do not change which records make a batch, nor the batches' order.
    In step `k` of an epoch, rank `r` of `world` has batch `k * world + r`.

    Iterating goes on from `state_dict()`, and moves it. At the start of an epoch that is the epoch's first batch; after
    its last batch, it is the first one of the next epoch.

    Args:
        paths: The depot, or several. Each process opens them for itself.
        fields: As in `DepotDataset`.
        batch_size: Records in a batch. The default is 32, unless there is a budget.
        max_atoms: Atoms in a batch, at most, unless one frame alone has more. Making the data set then goes over the
            depot once, to count atoms; `max_cost` with `costs` saves that.
        max_cost: As `max_atoms`, of numbers of your own.
        costs: `[len(depot)]` uint32: what each record costs.
        batch_bytes: Raw bytes in a batch, at most. This costs no look at the records.
        weights: For several depots: their shares of each batch. With 3 and 1, a batch of 32 has 24 and 8 records. An
            epoch then lasts until every depot was read once; the others begin again in another order. Shares need a
            `batch_size`, and go with no budget.
        shuffle: `True` or `"windowed"` (reads whole chunks), `"full"` (every order is as likely), or `False`.
        seed: Of the order.
        window: Raw bytes that are shuffled among each other. The default is 64 MiB.
        group: Raw bytes that are read together. The default is 1 MiB.
        lanes: Parts of the depot that are read side by side. Set it to ranks times workers, or a multiple, so that no
            process decodes what another one needs. It is part of the order: keep it when you resume.
        drop_last: Leave the last batch out if it is not full.
        even: Give every rank the same number of batches, as training in step needs: the first batches of the epoch come
            again on the ranks that lack one, or, with `drop_last`, the last step is left out.
        indices, names, split: Which records, of a single depot. A shuffled order does not depend on theirs.
        join: Depots that have more fields of the frames, by the same names.
        dtype: What positions, velocities, forces, charges and masses are converted to; by default they stay as they are
            stored. Numbers that do not fit are an error. Energies, times, cells and stresses stay float64.
        transform: What to make of each record, in the worker, before `collate`.
        collate: What to make of the list of a batch's records. By default frames become a `FrameBatch`, as long as the
            transform returns `FrameSample`s; all else stays a list.
        batch_transform: What to make of each batch, in the worker.
        rank, world: Which part of the batches. By default those of `torch.distributed`, if it is initialised when the
            epoch starts.
        on_error: `"skip"` leaves out records that cannot be read. The default stops.
        threads: Threads that read and decode, in each process. The default is 1 in workers, and the number of cores, at
            most 4, without.
        prefetch: Batches that these threads read ahead.
        codec, **options: As in `vldepot.open`.

    Raises:
        InvalidOptions: When options do not go together.
        FileNotFound, NotFound, ..: As `vldepot.open` and `Depot.loader`.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/a.vld"
        >>> with vldepot.create(path) as depot:
        ...     depot.update({n: vldepot.Frame(positions=np.zeros((n + 1, 3)), energy=-1.0 * n) for n in range(10)})
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
        # Of this process: the epoch and number of the next batch, which iterator counts, and where a worker is.
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
        """Where the batches of an epoch end that goes on at `start`. Numbers from `n` on stand for repeated ones."""
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

        In the epoch in which it is already, it stays where it is: a training that was resumed in the middle of epoch 3
        may call `set_epoch(3)`, as those of PyTorch do. `restart=True` goes to the start of that one too.
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
            RuntimeError: When workers of another `DataLoader` than `vldepot.torch.DataLoader` read ahead: only that one
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
                "workers of torch.utils.data.DataLoader read this data set ahead, so it cannot know which batches were "
                "delivered: use vldepot.torch.DataLoader, and its state_dict()"
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
                f"this is the state of worker {one[0]} of {one[1]} on rank {one[2]} of {one[3]}; only that of "
                "vldepot.torch.DataLoader goes on with another number of them"
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
        """The batches of this process, from where the data set is to the end of the epoch, and the place after each."""
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

    def _make(self, parts: list[Any]) -> Any:
        """Batches of the loader, one of each depot, as one batch of tensors."""
        sources = self._sources
        if all(source.fields is not None for source in sources):
            batches = [
                cast(_Fields, source.fields).batch(part.flat, lambda part=part: part[:], part.indices)  # type: ignore[misc]
                for source, part in zip(sources, parts, strict=True)
            ]
            for source, part, batch in zip(sources, parts, batches, strict=True):
                for join in source.joins:
                    join.add(batch, part.names, source.path)
                _converted(batch, self._dtype, source.path)
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


def _as_it_is(item: Any) -> Any:
    return item


class DataLoader(torch.utils.data.DataLoader[Any]):
    """PyTorch's `DataLoader` for a `DepotIterable`, with a state that counts the batches delivered.

    Workers read ahead; what they have read and the training loop has not had comes again after a resume. The state
    resumes with any number of workers and ranks. An epoch that ends early, or batches in another order, are errors.

    Args:
        dataset: What to iterate. It makes the batches, so there is no `batch_size`, `sampler` or `collate_fn`.
        num_workers: Processes that read; 0 for none.
        pin_memory, timeout, worker_init_fn, multiprocessing_context, generator, prefetch_factor, persistent_workers: As
            PyTorch's.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/a.vld"
        >>> with vldepot.create(path) as depot:
        ...     depot.update({n: vldepot.Frame(positions=np.zeros((n + 1, 3)), energy=-1.0 * n) for n in range(10)})
        >>> def make():
        ...     dataset = vldepot.torch.DepotIterable(path, "energy", batch_size=3, shuffle=True)
        ...     return vldepot.torch.DataLoader(dataset)
        >>> loader = make()
        >>> whole = [batch.energy.tolist() for batch in loader]
        >>> loader.set_epoch(0)
        >>> first = next(iter(loader))
        >>> state = loader.state_dict()
        >>> resumed = make()
        >>> resumed.load_state_dict(state)
        >>> [first.energy.tolist()] + [batch.energy.tolist() for batch in resumed] == whole
        True
    """

    dataset: DepotIterable

    def __init__(
        self,
        dataset: DepotIterable,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: torch.Generator | None = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        if not isinstance(dataset, DepotIterable):
            raise TypeError(
                f"this is for a DepotIterable, not {type(dataset).__name__}: use torch's DataLoader"
            )
        _whole("num_workers", num_workers, 0, 1 << 16)
        _whole("prefetch_factor", prefetch_factor, 1, 1 << 16)
        _callable(worker_init_fn=worker_init_fn)
        if not 0 <= timeout < math.inf:
            raise InvalidOptions(f"timeout={timeout}: it is a number of seconds, or 0 for none")
        super().__init__(
            dataset,
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            pin_memory=pin_memory,
            timeout=timeout,
            worker_init_fn=worker_init_fn,
            multiprocessing_context=multiprocessing_context,
            generator=generator,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
        )
        self._workers: Workers | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        dataset, pinned = self.dataset, self._pins()
        dataset._begin()
        if self.num_workers == 0:
            batches = dataset._marked()
            return _Iteration(
                dataset, ((_pinned(one), after) for one, after in batches) if pinned else batches
            )  # type: ignore[no-untyped-call]
        workers = self._workers or Workers(
            dataset._batches,
            dataset,
            self.num_workers,
            context=self.multiprocessing_context or torch.multiprocessing.get_context(),
            slots=cast(int, self.prefetch_factor),
            seed=int(torch.empty((), dtype=torch.int64).random_(generator=self.generator)),
            begin=self.worker_init_fn,
            timeout=self.timeout,
            pinned=pinned,
        )
        if self.persistent_workers:
            self._workers = workers
        return _Iteration(
            dataset, self._delivered(workers, workers.run(Job(*dataset._at, *dataset._place())))
        )

    def _delivered(self, workers: Workers, batches: Iterator[tuple[Any, int]]) -> Iterator[tuple[Any, int]]:
        yield from batches
        if workers is not self._workers:
            workers.close()

    def _pins(self) -> bool:
        if self.pin_memory and not torch.accelerator.is_available():
            warnings.warn("pin_memory: there is no accelerator to pin memory for", stacklevel=3)
            return False
        return self.pin_memory

    def __len__(self) -> int:
        """How many batches this rank has in the current epoch, counted from its start."""
        return self.dataset.n_batches()

    @property
    def epoch(self) -> int:
        """The epoch of the next batch, counted from 0."""
        return self.dataset.epoch

    def set_epoch(self, epoch: int, *, restart: bool = False) -> None:
        """As `DepotIterable.set_epoch`. Persistent workers follow."""
        self.dataset.set_epoch(epoch, restart=restart)

    def state_dict(self) -> dict[str, Any]:
        """After which batch the training loop is: a small dict of numbers and text.

        With several ranks, keep that of rank 0, taken when all ranks are at the same step.
        """
        return self.dataset.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on after that batch. See `DepotIterable.load_state_dict`."""
        self.dataset.load_state_dict(state)
        if self._workers is not None:
            # They know the old plan: the next epoch starts others.
            self._workers.close()


# -- PyTorch Geometric ------------------------------------------------------------------------------------------------

#: What PyTorch Geometric calls things.
_GEOMETRIC = {"positions": "pos", "types": "z", "energy": "y", "forces": "force"}


def to_data(sample: Mapping[str, Tensor]) -> Any:
    """A frame as `torch_geometric.data.Data`: a `transform` for `DepotIterable` and `DepotDataset`.

    `positions` become `pos` `[n, 3]`, `types` `z` `[n]` int64, `energy` `y` `[1]`, `forces` `force` `[n, 3]`, `cell`
    `[1, 3, 3]`; the rest keeps its name. There are no edges: add them with a transform of yours.

    Raises:
        ImportError: When torch_geometric is not installed.
    """
    from torch_geometric.data import Data  # type: ignore[import-untyped, import-not-found, unused-ignore]

    per_atom = getattr(sample, "per_atom", _PER_ATOM)
    fields = {}
    for name, tensor in sample.items():
        tensor = tensor.to(torch.int64) if name == "types" else tensor
        fields[_GEOMETRIC.get(name, "idx" if name == "index" else name)] = (
            tensor if name in per_atom else tensor[None]
        )
    counts = [len(sample[name]) for name in sample if name in per_atom]
    return Data(**fields, num_nodes=counts[0] if counts else None)


def to_batch(frames: Iterable[Mapping[str, Tensor]]) -> Any:
    """Frames as `torch_geometric.data.Batch`: a `batch_transform` for `DepotIterable`, and a `collate_fn`.

    Args:
        frames: A `FrameBatch`, or `FrameSample`s.

    Raises:
        ImportError: When torch_geometric is not installed.
    """
    from torch_geometric.data import Batch  # type: ignore[import-untyped, import-not-found, unused-ignore]

    return Batch.from_data_list([to_data(frame) for frame in frames])
