"""Folders of shards."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import pickle

import numpy as np
import pytest

import vldepot
from vldepot import shards


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Three shards of 50 arrays. The newest has one of the first again."""
    for rank in range(3):
        with vldepot.create(tmp_path / f"rank_{rank}.vld", "array") as depot:
            for n in range(50):
                depot[f"{rank}/{n}"] = np.full((n % 7, 3), 100 * rank + n, np.float32)
            if rank == 2:
                depot["0/7"] = np.ones(3, np.float32)
    return tmp_path


def sums(folder: str) -> float:
    with vldepot.open(folder) as depot:
        return float(sum(array.sum() for array in depot.values()))


def test_a_folder_is_read_like_a_file(folder: pathlib.Path) -> None:
    files = shards.found(folder)
    assert [os.path.basename(path) for path in files] == ["rank_0.vld", "rank_1.vld", "rank_2.vld"]
    assert not shards.is_set(folder)
    merged = shards.merge(folder, files)
    assert (merged.shards, merged.added, merged.records, merged.superseded) == (3, 3, 150, 1)
    assert merged.examples == ["0/7"] and shards.is_set(folder) and shards.found(folder) == []
    with vldepot.open(folder) as depot:
        assert len(depot) == 150
        assert depot["0/7"].tolist() == [1, 1, 1]
        assert list(depot)[-1] == "0/7" and list(depot)[7] == "0/8"
        many = depot.get_many(["2/3", "0/5", "2/3"])
        assert [array[0, 0] for array in many] == [203, 5, 203]
        assert depot.info().shards == 3 and depot.info().format == "shards"
        location = depot.location("1/4")
        assert location.shard == 1
        assert sum(len(batch) for batch in depot.loader(batch_size=8, shuffle=True, seed=1)) == 150
        again = pickle.loads(pickle.dumps(depot))
        assert again["2/3"][0, 0] == 203
    report = vldepot.verify(folder)
    assert report.is_whole and report.records == 151 and report.format == "shards"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_a_folder(folder: pathlib.Path, method: str) -> None:
    shards.merge(folder, shards.found(folder))
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(sums, [str(folder)] * 4) == [sums(str(folder))] * 4


def test_records_are_removed_and_shards_divided_anew(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shards.merge(folder, shards.found(folder))
    assert shards.remove(folder, ["0/7", "1/1"]) == 2
    with pytest.raises(vldepot.NotFound):
        shards.remove(folder, ["none"])
    told: list[tuple[int, int]] = []
    made = shards.reshard(
        folder, tmp_path / "one.vld", progress=lambda done, total: told.append((done, total))
    )
    assert (made.shards, made.records) == (1, 148) and told[-1][0] == told[-1][1]
    assert shards.reshard(tmp_path / "one.vld", tmp_path / "many", 4000).shards > 3
    assert sums(str(tmp_path / "many")) == sums(str(tmp_path / "one.vld"))
    with pytest.raises(vldepot.PathExists):
        shards.reshard(folder, tmp_path / "many", 4000)


def test_refusals_name_the_shard(folder: pathlib.Path) -> None:
    with pytest.raises(vldepot.Exists, match="0/7"):
        shards.merge(folder, shards.found(folder), unique=True)
    shards.merge(folder, shards.found(folder))
    with vldepot.create(folder / "other.vld", "bytes"):
        pass
    with pytest.raises(vldepot.InvalidOptions, match="other.vld"):
        shards.merge(folder, [folder / "other.vld"])
    with pytest.raises(vldepot.InvalidOptions, match="folder of shards"):
        vldepot.append(folder)
    (folder / "rank_1.vld").unlink()
    with pytest.raises(vldepot.MissingShard) as caught:
        vldepot.open(folder)
    assert (caught.value.shard, caught.value.records) == ("rank_1.vld", 50)
    with vldepot.open(folder, accept_loss=True) as depot:
        assert depot["2/3"][0, 0] == 203
        with pytest.raises(vldepot.MissingShard):
            depot["1/3"]
