"""Loaders: every record once, in an order that resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import vldepot


def indices(loader: vldepot.Loader[vldepot.Frame]) -> list[int]:
    return [int(index) for batch in loader for index in batch.indices]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": True, "seed": 3},
        {"shuffle": "full"},
        {"shuffle": True, "threads": 0},
        {"max_atoms": 50, "shuffle": True},
        {"batch_bytes": 3000},
    ],
)
def test_an_epoch_has_every_record_once(molecules: Path, options: dict[str, object]) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    seen = []
    for batch in depot.loader(**options):
        assert [frame.energy for frame in batch] == [float(index) for index in batch.indices]
        flat = batch.flat(["positions", "energy"])
        assert flat.energy.tolist() == batch.indices.tolist()
        assert (flat.positions == np.concatenate([frame.positions for frame in batch])).all()
        assert batch.names == [f"m{index:03}" for index in batch.indices]
        if "max_atoms" in options:
            assert len(flat.positions) <= 50
        seen += batch.indices.tolist()
    assert sorted(seen) == list(range(200)) and (seen == list(range(200))) == ("shuffle" not in options)


def test_ranks_and_workers_share_an_epoch(molecules: Path) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    options = {"batch_size": 7, "shuffle": True, "seed": 1}
    parts = [
        indices(depot.loader(**options, rank=rank, world=2, worker=worker, workers=2))
        for rank in range(2)
        for worker in range(2)
    ]
    assert sorted(sum(parts, [])) == list(range(200)) and all(parts)


def test_a_state_goes_on_exactly(molecules: Path) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    options = {"batch_size": 8, "shuffle": True, "seed": 5, "epochs": 3}
    whole = indices(depot.loader(**options))
    for stop in (0, 1, 24, 25, 30, 75):
        loader = depot.loader(**options)
        before = [int(index) for _ in range(stop) for index in next(loader).indices]
        state = json.loads(json.dumps(loader.state()))
        assert before + indices(depot.loader(**options, state=state)) == whole
    with pytest.raises(vldepot.OtherLoader) as caught:
        depot.loader(batch_size=9, shuffle=True, seed=5, state=state)
    assert caught.value.what == "batch size"
    workers = [depot.loader(batch_size=8, worker=worker, workers=2) for worker in range(2)]
    next(workers[0])
    merged = vldepot.merge_states([loader.state() for loader in workers])
    assert indices(depot.loader(batch_size=8, state=merged)) == list(range(8, 200))
    with pytest.raises(vldepot.InvalidOptions):
        vldepot.merge_states([])


def test_subsets_and_costs(molecules: Path) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    assert indices(depot.loader(positions=[7, -1, 7])) == [7, 199, 7]
    assert indices(depot.loader(positions=np.arange(5))) == [0, 1, 2, 3, 4]
    assert indices(depot.loader(names=["m005", "m001"])) == [5, 1]
    assert indices(depot.loader(range=(190, 1000))) == list(range(190, 200))
    counts = depot.atom_counts(threads=2)
    assert counts.dtype == np.uint32 and counts.tolist() == [n % 30 + 1 for n in range(200)]
    for costs in (counts, counts.astype(np.int64), counts.tolist()):
        assert all(counts[batch.indices].sum() <= 40 for batch in depot.loader(max_cost=40, costs=costs))
    loader = depot.loader(batch_size=64)
    assert (loader.records, loader.remaining(), loader.epoch) == (200, 4, 0)
    batch = next(loader)
    assert (batch.number, batch.epoch, batch.ends_epoch, batch.is_repeated, batch.skipped, len(batch)) == (
        0,
        0,
        False,
        False,
        [],
        64,
    )
    assert batch[-1].energy == 63.0 and "64 records" in repr(batch) and "200 records" in repr(loader)
    assert [frame.energy for frame in batch[60:]] == [60.0, 61.0, 62.0, 63.0] and batch[::-32][
        1
    ].energy == 31.0
    for outside in (64, -65, 10**30):
        with pytest.raises(IndexError):
            batch[outside]
    for options in ({"batch_size": 0}, {"max_cost": 5}, {"rank": 2, "world": 2}):
        with pytest.raises(vldepot.InvalidOptions):
            depot.loader(**options)
    for wrong in (
        {"colour": 1},
        {"shuffle": "yes"},
        {"on_error": "ignore"},
        {"positions": ["a"]},
        {"state": 5},
    ):
        with pytest.raises((TypeError, ValueError)):
            depot.loader(**wrong)
    with pytest.raises(IndexError):
        depot.loader(positions=[200])
    with pytest.raises(vldepot.InvalidOptions):
        vldepot.memory("bytes").loader(max_atoms=5)


def test_a_batch_outlives_loader_and_depot(molecules: Path) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    loader = depot.loader(batch_size=50)
    depot.close()
    batch = next(loader)
    del loader, depot
    assert batch.flat("energy").energy.tolist() == list(range(50)) and batch.names[0] == "m000"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_goes_on_loading(molecules: Path) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    loader = depot.loader(batch_size=10, shuffle=True, epochs=2)
    first = [next(loader).indices.tolist() for _ in range(3)]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps([batch.indices.tolist() for batch in loader]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        rest = json.loads(pipe.read())
    os.waitpid(child, 0)
    assert rest == [batch.indices.tolist() for batch in loader] and len(first + rest) == 40


def test_damaged_records_stop_the_loader_or_are_skipped(molecules: Path) -> None:
    content = bytearray(molecules.read_bytes())
    at = content.index(vldepot.open(molecules)["m100"].positions.tobytes())
    content[at] ^= 1
    molecules.write_bytes(content)
    depot = vldepot.open(molecules, "atomic_frame")
    with pytest.raises(vldepot.Error) as caught:
        list(depot.loader())
    assert caught.value.is_damage and caught.value.record == '"m100"'
    skipped = [one for batch in depot.loader(on_error="skip") for one in batch.skipped]
    assert len(skipped) == 1 and skipped[0][0] == 100 and skipped[0][1].is_damage
