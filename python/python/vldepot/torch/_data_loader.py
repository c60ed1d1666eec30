"""PyTorch's `DataLoader`, for batches from the loader of the library."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed
import torch.utils.data
from torch.utils.data._utils import pin_memory

from ..errors import InvalidOptions
from ._iterable import DepotIterable, _Iteration
from ._options import _callable, _whole
from ._workers import Job, Workers

if TYPE_CHECKING:
    pass


def _as_it_is(item: Any) -> Any:
    return item


def _pinned(item: tuple[Any, int]) -> tuple[Any, int]:
    return pin_memory.pin_memory(item[0]), item[1]  # type: ignore[no-untyped-call]


class DataLoader(torch.utils.data.DataLoader[Any]):
    """PyTorch's `DataLoader` for a `DepotIterable`, with a state that counts the batches delivered.

    Workers read ahead; what they have read and the training loop has not had comes again after a resume. The
    state resumes with any number of workers and ranks. An epoch that ends early, or batches in another order,
    are errors.

    Args:
        dataset: What to iterate. It makes the batches, so there is no `batch_size`, `sampler` or
            `collate_fn`.
        num_workers: Processes that read; 0 for none.
        pin_memory, timeout, worker_init_fn, multiprocessing_context, generator, prefetch_factor,
        persistent_workers: As
            PyTorch's.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/a.vld"
        >>> with vldepot.create(path) as depot:
        ...     for n in range(10):
        ...         depot[n] = vldepot.Frame(positions=np.zeros((n + 1, 3)), energy=-1.0 * n)
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
            return _Iteration(dataset, map(_pinned, batches) if pinned else batches)
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
