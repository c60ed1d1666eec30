"""Training on a folder of shards."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("vldepot.torch", reason="PyTorch is not installed")

from shared import FIELDS, N, check, drain, flat, frame, loader

import vldepot
from vldepot import shards
from vldepot.torch import DepotDataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The molecules, in five shards."""
    folder = tmp_path_factory.mktemp("shards")
    for rank in range(5):
        with vldepot.create(folder / f"rank_{rank}.vld", chunk_size=1 << 14) as depot:
            for n in range(N * rank // 5, N * (rank + 1) // 5):
                depot[f"m{n:03}"] = frame(n)
    shards.merge(folder, shards.found(folder))
    return folder


@pytest.mark.parametrize(("workers", "context"), [(0, None), (2, "fork"), (2, "spawn")])
def test_every_record_comes_once_and_a_stopped_epoch_goes_on(
    folder: Path, workers: int, context: str | None
) -> None:
    whole = drain(loader(folder, workers, context))
    assert sorted(flat(whole)) == list(range(N))
    first = loader(folder, workers, context)
    begun = drain(first, 11)
    resumed = loader(folder, workers, context)
    resumed.load_state_dict(first.state_dict())
    assert begun + drain(resumed) == whole


def test_a_folder_is_a_data_set(folder: Path) -> None:
    dataset = DepotDataset(folder, FIELDS)
    assert len(dataset) == N and check(dataset.__getitems__([7, 299, 60])) == [7, 299, 60]
