"""Frames as tensors: one, or many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.distributed
import torch.utils.data
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PER_ATOM = frozenset({"positions", "velocities", "forces", "charges", "types", "masses"})
#: Batches of at most so many bytes go through the pipe from a worker, larger ones through shared memory. With
#: the rest of the message they fit into what a pipe takes at once (4096 bytes): of a longer one, a killed
#: worker may leave a part, and the reader would wait for the rest for ever.
_BY_PIPE = 1 << 10


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

    Arrays per atom are `[n, ..]`, values per frame have no such axis: `energy` is `[]`. `index`, `[]` int64,
    is the frame's position in the depot.
    """

    per_atom: frozenset[str]
    """The names of the tensors that have a row for each atom."""

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
        >>> frames = [{"positions": torch.zeros(n, 3), "energy": torch.tensor(float(n))} for n in (1, 2)]
        >>> batch = vldepot.torch.collate([vldepot.torch.FrameSample(frame) for frame in frames])
        >>> batch.positions.shape, batch.offsets, batch.batch
        (torch.Size([3, 3]), tensor([0, 1, 3]), tensor([0, 1, 1]))
        >>> torch.zeros(len(batch)).index_add(0, batch.batch, batch.positions.sum(dim=1))
        tensor([0., 0.])
    """

    fields: dict[str, Tensor]
    """The tensors by name: those per atom `[sum n, ..]`, all others with a row for each frame."""
    per_atom: frozenset[str]
    """The names of the tensors that have a row for each atom."""
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
        """A field by its name, or a frame by its number: a `FrameSample` that shares the batch's memory."""
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
        # All tensors in one buffer. A worker of PyTorch's loader hands over each tensor as a file of its own,
        # through a handshake of about 0.7 ms; a small buffer goes through the pipe instead.
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
