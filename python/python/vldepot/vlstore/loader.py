"""Loading in shuffled batches."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

from .store import TYPE_KEY, Depot

__all__ = ["BlockShuffleBatch"]

_T = TypeVar("_T")


def _batched(source: Iterable[_T], size: int) -> Iterator[list[_T]]:
    source = iter(source)
    while batch := list(islice(source, size)):
        yield batch


class BlockShuffleBatch(Generic[_T]):
    """Serves every record of a depot once, shuffled by the chunk.

    `read_size` chunks are read at a time, in a shuffled order, and their records are shuffled together. An iteration
    gives lists of `batch_size` records, of which only the last may be shorter; `stream` gives single records. Both
    may be called again, also while one of them is under way. Records never change under the reader: each read has
    memory of its own, which lives as long as the values that are views of it.

    Args:
        read_size: Chunks to read at a time. More of them shuffle better, and need more memory.
        batch_size: Records of a batch.
        backing: A depot. Records that are put later are not served.
        buffer_size: Not needed; here because vlstore has it.
        shuffle: Whether to shuffle. If not, records come in their order in storage.
        end_block_merge: Whether the last chunk is read with the one before it, as it often holds little.
        n_buffers: Not needed; here because vlstore has it.
        seed: Makes the order repeatable: two loaders of one seed serve the same, epoch by epoch. Without one, the
            order is that of Python's `random`.

    Raises:
        ValueError: When a size is less than 1.

    Example:
        >>> from vldepot.vlstore import flatfloatndarray_codec
        >>> import numpy as np
        >>> depot = Depot(codec=flatfloatndarray_codec)
        >>> for n in range(5):
        ...     depot.put(n, np.full(2, n, dtype=np.float32))
        >>> [len(batch) for batch in BlockShuffleBatch(read_size=1, batch_size=2, backing=depot, seed=1)]
        [2, 2, 1]
    """

    def __init__(
        self,
        read_size: int,
        batch_size: int,
        backing: Depot[_T],
        buffer_size: int | None = None,
        shuffle: bool = True,
        end_block_merge: bool = True,
        n_buffers: int = 2,
        *,
        seed: int | None = None,
    ) -> None:
        for name, size in (("read_size", read_size), ("batch_size", batch_size), ("n_buffers", n_buffers)):
            if size < 1:
                raise ValueError(f"{name} is {size}, and must be 1 or more")
        self.read_size = read_size
        self.batch_size = batch_size
        self.backing = backing
        self.buffer_size = buffer_size
        self.shuffle = shuffle
        self.end_block_merge = end_block_merge
        self.entered = False
        """Kept for code that resets it: iterating again is always allowed."""
        self._random: Any = random if seed is None else random.Random(seed)
        self.ownership: dict[int, list[TYPE_KEY]] = {}
        """The keys of each chunk, in their order in storage. A record across chunks belongs to its first one."""
        for key, place in sorted(backing.lookup.items(), key=lambda item: item[1].start):
            self.ownership.setdefault(place.start_block, []).append(key)

    def key_groups(self, shuffle: bool = False) -> list[list[TYPE_KEY]]:
        """The keys that are read together, in their order in storage; the groups are shuffled if asked."""
        groups = [self.ownership[block] for block in sorted(self.ownership)]
        if self.end_block_merge and len(groups) > 1:
            last = groups.pop()
            groups[-1] = groups[-1] + last
        if shuffle:
            self._random.shuffle(groups)
        return groups

    def stream(self) -> Iterator[_T]:
        """Serves single records."""
        for groups in _batched(self.key_groups(shuffle=self.shuffle), self.read_size):
            records = [record for keys in groups for record in self.backing.fused_get(keys, presorted=True)]
            if self.shuffle:
                self._random.shuffle(records)
            yield from records

    def __iter__(self) -> Iterator[list[_T]]:
        """Serves batches."""
        return _batched(self.stream(), self.batch_size)
