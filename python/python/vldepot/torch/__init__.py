"""Training with PyTorch: depots as data sets, batches as tensors, loaders that resume exactly.

| | |
| --- | --- |
| `DepotIterable` | shuffled batches from the loader of the library: workers and ranks share an epoch |
| `DataLoader` | PyTorch's, for a `DepotIterable`: its `state_dict` counts the batches that were *delivered* |
| `DepotDataset` | records by position, for samplers of PyTorch |
| `Join` | another depot that has more fields of the same records, by name |
| `FrameBatch`, `FrameSample`, `collate` | many frames, or one, as tensors |
| `to_data`, `to_batch` | the same for PyTorch Geometric |
| `write_split`, `read_split` | named parts of a depot, such as the training set, kept in the depot |

All open the depot by its path, in each process on its own. So they can be pickled, and work with `fork`,
`forkserver` and `spawn`.

    >>> import tempfile
    >>> import vldepot.torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/train.vld"
    >>> with vldepot.create(path) as depot:
    ...     for n in range(100):
    ...         depot[n] = vldepot.Frame(positions=np.full((n % 5 + 1, 3), float(n)), energy=float(n))
    >>> dataset = vldepot.torch.DepotIterable(path, ["positions", "energy"], batch_size=32, shuffle=True)
    >>> loader = vldepot.torch.DataLoader(dataset)
    >>> [(len(batch), batch.energy.shape, batch.positions.dtype) for batch in loader][-1]
    (4, torch.Size([4]), torch.float32)

No tensor shares memory with a file, a map or a cache: each owns what it shows, and may be written to.
"""

from ._batch import FrameBatch, FrameSample, collate
from ._data_loader import DataLoader
from ._dataset import DepotDataset
from ._depots import Join, read_split, write_split
from ._geometric import to_batch, to_data
from ._iterable import DepotIterable

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
