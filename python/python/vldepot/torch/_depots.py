"""Depots that data sets read: which fields, which parts, and what is joined by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
import torch.distributed
import torch.utils.data
from torch import Tensor

from .. import Depot, Frame, open
from ..errors import InvalidOptions, NotFound
from ._batch import _PER_ATOM, FrameBatch, _tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Path = str | os.PathLike[str]
_PER_FRAME = frozenset({"energy", "time", "cell", "stress"})
#: The fields that the flat reader gives, in a fixed order.
_FLAT = (*sorted(_PER_ATOM), *sorted(_PER_FRAME))
#: The fields of the precision of the depot. The flat reader gives them in float32 alone.
_FLOATS = frozenset({"positions", "velocities", "forces", "charges"})
#: What `dtype` is about.
_REALS = _FLOATS | {"masses"}
#: Names that are looked up in other depots at a time.
_LOOKED_UP = 1 << 16
#: Decoded blocks of a joined depot that are kept: as many bytes as a shuffle's window has.
_JOINED_CACHE = 64 << 20
#: Where a depot keeps its splits.
_SPLITS = "splits"
#: Depots that a fork inherited. Dropping one might wait for a thread that the fork does not have.
_inherited: list[Any] = []


def _dtype(dtype: Any, fields: _Fields | None) -> torch.dtype | None:
    if dtype is not None and (not isinstance(dtype, torch.dtype) or not dtype.is_floating_point):
        raise TypeError(f"dtype is a type of real numbers of PyTorch, such as torch.float64, not {dtype!r}")
    if dtype is not None and fields is None:
        raise InvalidOptions("dtype is for depots of frames")
    return dtype


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


def write_split(depot: Depot[Any], split: str, names: Iterable[str | int]) -> None:
    """Keeps the names of a part of the depot, such as the training set, in the depot's metadata.

    Names still say the same after records were removed and the depot was compacted; positions do not. The
    metadata is read as a whole, so for some 10^6 records and more, keep an array of positions in a file of
    its own instead, and give it as `indices`.

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


class Join(_Opens):
    """Another depot with records of the same names, such as labels or features: for `join=` of a data set.

    What it has of a record joins the fields of the frame of that name. Names that only this depot has do not
    matter.

    Args:
        path: The depot: one of frames, or one of arrays.
        fields: Of frames, which fields; the default is as in `DepotDataset`. Of arrays, what to call them:
            one name.
        per_atom: Of arrays: whether they have a row for each atom, `[n, ..]`. They then become `[sum n, ..]`.
            Else all have the same shape, and become `[frames, ..]`.
        missing: What to do about a record of the data set that is not here: `"error"`, or `"skip"`, which
            leaves the record out of the data set. All names are looked up when the data set is made, which
            takes some seconds for 10^6 of them, and a byte of memory for each.
        codec, **options: As in `vldepot.open`. Each record is read on its own, so `cache_bytes` is 64 MiB
            here by default, in each process: what lies beside a record is then decoded once for many.

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
        self._how = (codec, {"cache_bytes": _JOINED_CACHE, **options})
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
                f"record {names[other]!r} has {counts[other]} atoms in {whose}, "
                f"and {lengths[other]} in {self.path}"
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
