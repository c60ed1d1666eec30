"""Frames for PyTorch Geometric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
import torch.utils.data
from torch import Tensor

from ._batch import _PER_ATOM

if TYPE_CHECKING:
    pass

#: What PyTorch Geometric calls things.
_GEOMETRIC = {"positions": "pos", "types": "z", "energy": "y", "forces": "force"}


def to_data(sample: Mapping[str, Tensor]) -> Any:
    """A frame as `torch_geometric.data.Data`: a `transform` for `DepotIterable` and `DepotDataset`.

    `positions` become `pos` `[n, 3]`, `types` `z` `[n]` int64, `energy` `y` `[1]`, `forces` `force` `[n, 3]`,
    `cell` `[1, 3, 3]`; the rest keeps its name. There are no edges: add them with a transform of yours.

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
