"""The map-style data set, batches as tensors, splits, and PyTorch Geometric."""

from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vldepot.torch", reason="PyTorch is not installed")

import torch
import torch.utils.data
from shared import FIELDS, N, check, flat, frame

import vldepot
import vldepot.torch
from vldepot.torch import DepotDataset, DepotIterable, FrameBatch, FrameSample, collate


def load(
    dataset: Any, workers: int = 0, context: str | None = None, **options: Any
) -> torch.utils.data.DataLoader[Any]:
    how: dict[str, Any] = {"multiprocessing_context": context, "timeout": 60} if workers else {}
    return torch.utils.data.DataLoader(dataset, 16, collate_fn=collate, num_workers=workers, **how, **options)


@pytest.mark.parametrize(
    ("workers", "context"), [(0, None), (1, "fork"), (4, "fork"), (4, "forkserver"), (2, "spawn")]
)
def test_every_record_comes_once(molecules: Path, workers: int, context: str | None) -> None:
    dataset = DepotDataset(molecules, FIELDS)
    assert len(dataset) == N and check(dataset.__getitems__([7, 8])) == [7, 8]
    loading = load(dataset, workers, context, shuffle=True, persistent_workers=context == "spawn")
    for _ in range(3):
        assert sorted(flat([check(batch) for batch in loading])) == list(range(N))
    assert dataset[0]["energy"] == 0.0  # the parent's depot goes on as well


def test_distributed_samplers_share(molecules: Path) -> None:
    dataset = DepotDataset(molecules, FIELDS)
    numbers = []
    for rank in range(2):
        sampler = torch.utils.data.DistributedSampler(dataset, 2, rank, shuffle=True)
        numbers += flat([check(batch) for batch in load(dataset, sampler=sampler)])
    assert sorted(numbers) == list(range(N))


def test_positions_names_and_splits(molecules: Path) -> None:
    assert check(DepotDataset(molecules, FIELDS, indices=[5, -1]).__getitems__([0, 1])) == [5, N - 1]
    named = DepotDataset(molecules, FIELDS, names=["m007", "m003"])
    assert len(named) == 2 and [float(named[n]["energy"]) for n in (0, 1, -1)] == [7.0, 3.0, 3.0]
    train, test = (
        DepotDataset(molecules, "energy", split="train"),
        DepotDataset(molecules, "energy", split="test"),
    )
    energies = [batch.energy.tolist() for part in (train, test) for batch in load(part, 2, "fork")]
    assert sorted(flat(energies)) == list(range(N))
    subset = torch.utils.data.Subset(DepotDataset(molecules, FIELDS), [9, 4])
    assert [check(batch) for batch in load(subset)] == [[9, 4]]
    both = torch.utils.data.ConcatDataset(
        [DepotDataset(molecules, FIELDS, indices=range(10)), DepotDataset(molecules, FIELDS, indices=[30])]
    )
    assert [check(batch) for batch in load(both)] == [[*range(10), 30]]
    with pytest.raises(vldepot.NotFound, match="train, test"):
        DepotDataset(molecules, split="valid")
    with pytest.raises(vldepot.NotFound):
        DepotDataset(molecules, names=["nobody"])
    with pytest.raises(vldepot.InvalidOptions):
        DepotDataset(molecules, names=["m001"], split="train")
    for wrong in (N, -N - 1):
        with pytest.raises(IndexError):
            DepotDataset(molecules)[wrong]
        with pytest.raises(IndexError):
            DepotDataset(molecules, indices=[wrong])


def test_a_split_survives_compaction(tmp_path: Path) -> None:
    path = tmp_path / "a.vld"
    with vldepot.create(path) as depot:
        depot.update({f"m{n}": frame(n) for n in range(20)})
        vldepot.torch.write_split(depot, "train", (f"m{n}" for n in (3, 17)))
        for wrong, error in (
            (["nobody"], vldepot.NotFound),
            ([b"m1"], TypeError),
            ([True], TypeError),
            (["m1", "m1"], vldepot.InvalidOptions),
        ):
            with pytest.raises(error):
                vldepot.torch.write_split(depot, "bad", wrong)  # type: ignore[arg-type]
        for n in (0, 1, 5):
            del depot[f"m{n}"]
    vldepot.compact(path)
    assert [float(sample["energy"]) for sample in DepotDataset(path, split="train").__getitems__([0, 1])] == [
        3.0,
        17.0,
    ]
    assert sorted(
        flat([batch.energy.tolist() for batch in DepotIterable(path, "energy", split="train", shuffle=True)])
    ) == [3.0, 17.0]


def test_fields(molecules: Path, tmp_path: Path) -> None:
    assert set(DepotDataset(molecules)[0]) == {"positions", "forces", "types", "energy", "index"}
    own = DepotDataset(molecules, ["positions", "partial", "dipole"])
    batch = own.__getitems__([3, 20])
    assert batch.partial.dtype == torch.float64 and batch.partial.tolist() == [
        3.0,
        4.0,
        5.0,
        6.0,
        *(20.0 + n for n in range(8)),
    ]
    assert batch.dipole.tolist() == [[3.0, 0.0, 1.0], [20.0, 0.0, 1.0]]
    again = collate(list(batch))
    assert (
        all(torch.equal(again[name], batch[name]) for name in batch.fields)
        and torch.equal(again.offsets, batch.offsets)
        and torch.equal(again.indices, batch.indices)
    )
    mixed = next(iter(DepotIterable(molecules, ["dipole", "partial", "energy"], batch_size=30)))
    assert mixed.dipole.shape == (30, 3) and mixed["partial"].shape == (int(mixed.offsets[-1]),)
    for name in ("velocities", "nothing"):
        with pytest.raises(vldepot.Error):
            DepotDataset(molecules, ["positions", name])[0]
    with pytest.raises(vldepot.InvalidOptions):
        DepotDataset(molecules, ["energy", "energy"])
    for precision in ("float64", "float16"):
        with vldepot.create(tmp_path / f"{precision}.vld", precision=precision) as depot:
            depot.update({n: vldepot.Frame(positions=np.full((n + 1, 3), n / 8), energy=n) for n in range(5)})
        batch = DepotDataset(tmp_path / f"{precision}.vld").__getitems__(range(5))
        assert batch.positions.dtype == getattr(torch, precision) and batch.positions[:, 0].tolist() == [
            n / 8 for n in range(5) for _ in range(n + 1)
        ]
        assert next(iter(DepotIterable(tmp_path / f"{precision}.vld"))).positions.dtype == getattr(
            torch, precision
        )


@pytest.mark.parametrize("stored", ["float16", "float32", "float64"])
@pytest.mark.parametrize("wanted", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_other_precisions(tmp_path: Path, stored: Any, wanted: torch.dtype) -> None:
    path = tmp_path / "a.vld"
    with vldepot.create(path, precision=stored) as depot:
        depot.update(
            {
                n: vldepot.Frame(positions=np.full((n + 1, 3), n / 8), masses=np.ones(n + 1), energy=n / 3)
                for n in range(5)
            }
        )
    for batch in (
        DepotDataset(path, dtype=wanted).__getitems__(range(5)),
        next(iter(DepotIterable(path, dtype=wanted))),
    ):
        assert (
            batch.positions.dtype == wanted
            and batch.masses.dtype == wanted
            and batch.energy.dtype == torch.float64
        )
        assert batch.positions[:, 0].tolist() == [n / 8 for n in range(5) for _ in range(n + 1)]
        assert batch.energy.tolist() == [n / 3 for n in range(5)]


def test_numbers_that_do_not_fit(tmp_path: Path) -> None:
    with vldepot.create(tmp_path / "a.vld", precision="float64") as depot:
        depot[0] = vldepot.Frame(positions=[[1.0, np.inf, np.nan], [1e5, 0, 0]])
        depot[1] = vldepot.Frame(positions=[[1e300, 0, 0]])
        depot[2] = vldepot.Frame(positions=[[np.inf, np.nan, 2.0]])
    halves, singles = (
        DepotDataset(tmp_path / "a.vld", dtype=dtype) for dtype in (torch.float16, torch.float32)
    )
    with pytest.raises(ValueError, match="positions of up to 100000 do not fit into torch.float16"):
        halves[0]
    with pytest.raises(ValueError, match="1e\\+300"):
        singles[1]
    assert singles[0]["positions"][1, 0] == 1e5 and halves[2]["positions"].isinf().sum() == 1
    for dtype in (torch.int32, "float32", np.float32):
        with pytest.raises(TypeError):
            DepotDataset(tmp_path / "a.vld", dtype=dtype)  # type: ignore[arg-type]
    with vldepot.create(tmp_path / "b.vld", "array") as depot:
        depot[0] = np.zeros(3)
    for make in (DepotDataset, DepotIterable):
        with pytest.raises(vldepot.InvalidOptions):
            make(tmp_path / "b.vld", dtype=torch.float32)


def test_no_tensor_shows_the_map_or_the_cache(tmp_path: Path) -> None:
    for codec, values in (
        ("atomic_frame", [frame(n) for n in range(20)]),
        ("array", [np.arange(5.0) + n for n in range(20)]),
    ):
        path = tmp_path / f"{codec}.vld"
        with vldepot.create(path, codec, preset="uncompressed") as depot:  # type: ignore[call-overload]
            depot.update(dict(enumerate(values)))
        content = path.read_bytes()
        for dataset in (
            DepotDataset(path, cache_bytes=1 << 20),
            DepotDataset(path, ["positions", "partial", "types"] if codec == "atomic_frame" else None),
        ):
            for _ in range(2):
                for record in (dataset[4], next(iter(DepotIterable(path)))):
                    tensors = (
                        [record]
                        if isinstance(record, torch.Tensor)
                        else list(record.values())
                        if isinstance(record, dict)
                        else list(record.fields.values())
                        if isinstance(record, FrameBatch)
                        else record
                    )
                    for tensor in tensors:
                        tensor.fill_(77)
            fresh = dataset[4]
            assert float((fresh["positions"] if codec == "atomic_frame" else fresh).reshape(-1)[0]) == 4.0
        assert path.read_bytes() == content


def halve(sample: FrameSample) -> torch.Tensor:
    return sample["energy"] / 2


def test_transforms_and_other_codecs(molecules: Path, tmp_path: Path) -> None:
    halved = DepotDataset(molecules, "energy", transform=halve)
    assert float(halved[9]) == 4.5
    loading = torch.utils.data.DataLoader(halved, 10, num_workers=2, timeout=60)
    assert flat([batch.tolist() for batch in loading]) == [n / 2 for n in range(N)]
    with vldepot.create(tmp_path / "a.vld", "array") as depot:
        depot.update({n: np.full(3, n, ">f4" if n % 2 else "<f4") for n in range(10)})
    batch = next(iter(torch.utils.data.DataLoader(DepotDataset(tmp_path / "a.vld", threads=2), 10)))
    assert torch.equal(batch, torch.arange(10.0)[:, None].expand(10, 3))
    with pytest.raises(vldepot.InvalidOptions):
        DepotDataset(tmp_path / "a.vld", "positions")
    with pytest.raises(TypeError):
        DepotDataset(vldepot.memory())  # type: ignore[arg-type]
    with pytest.raises(vldepot.FileNotFound):
        DepotDataset(tmp_path / "none.vld")


def test_pickles_and_depots_that_change(tmp_path: Path) -> None:
    path = tmp_path / "a.vld"
    with vldepot.create(path) as depot:
        depot.update({n: frame(n) for n in range(30)})
    dataset = DepotDataset(path, FIELDS)
    assert check(dataset.__getitems__([1])) == [1]
    pickled = pickle.dumps(dataset)
    with vldepot.append(path) as depot:
        depot[30] = frame(30)
    grown = pickle.loads(pickled)
    assert len(grown) == 30 and check(grown.__getitems__([1, 29])) == [1, 29]
    with vldepot.append(path) as depot:
        del depot[3]
    with pytest.raises(vldepot.Damaged, match="removed"):
        pickle.loads(pickled)[0]
    dataset.close()
    with pytest.raises(vldepot.Damaged):
        dataset[0]


def test_batches(molecules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = DepotDataset(molecules, FIELDS).__getitems__([4, 2])
    assert len(batch) == 2 and batch.n_atoms.tolist() == [5, 3] and batch.batch.tolist() == [0] * 5 + [1] * 3
    assert "2 frames" in repr(batch) and check(collate(batch)) == [4, 2] and check(batch.to("cpu")) == [4, 2]
    assert [int(sample["index"]) for sample in batch] == [4, 2] and torch.equal(
        batch[-1]["positions"], batch.positions[5:]
    )
    copied = pickle.loads(pickle.dumps(batch))
    assert check(copied) == [4, 2]
    for limit in (0, 1 << 20):  # in shared memory, and through the pipe
        monkeypatch.setattr("vldepot.torch._batch._BY_PIPE", limit)
        sent = pickle.loads(bytes(ForkingPickler.dumps(batch)))
        assert check(sent) == [4, 2]
        sent.positions.fill_(7)
        assert int(sent.indices[0]) == 4 and sent.offsets.tolist() == [0, 5, 8] and check(batch) == [4, 2]
    batch.fields["odd"] = torch.tensor([True, False, True])[::2]
    batch.fields["none"] = torch.empty(0, 3, dtype=torch.float16)
    sent = pickle.loads(pickle.dumps(batch))
    assert (
        sent.odd.tolist() == [True, True] and sent.none.shape == (0, 3) and sent.none.dtype == torch.float16
    )
    batch.fields["odd"] = torch.ones(2, requires_grad=True)
    assert pickle.loads(pickle.dumps(batch)).odd.requires_grad
    del batch.fields["odd"], batch.fields["none"]
    empty = DepotDataset(molecules, FIELDS).__getitems__([])
    assert len(pickle.loads(pickle.dumps(empty))) == 0
    sample = pickle.loads(pickle.dumps(batch[0]))
    assert type(sample) is FrameSample and sample.per_atom == batch.per_atom
    pinned = []
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda tensor, device=None: pinned.append(tensor) or tensor
    )
    assert check(torch.utils.data._utils.pin_memory.pin_memory(batch)) == [4, 2] and len(pinned) == 5
    with pytest.raises(IndexError):
        batch[2]
    with pytest.raises(AttributeError, match="velocities"):
        _ = batch.velocities
    for wrong in ([], [batch[0], FrameSample({"energy": torch.zeros(())})]):
        with pytest.raises(ValueError):
            collate(wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU to pin memory for")
def test_pinned_memory(molecules: Path) -> None:
    batch = next(
        iter(vldepot.torch.DataLoader(DepotIterable(molecules, FIELDS), pin_memory=True, num_workers=1))
    )
    assert batch.positions.is_pinned() and check(batch.to("cuda", non_blocking=True).to("cpu"))


def test_pin_memory_does_no_harm_without_a_gpu(molecules: Path) -> None:
    with (
        pytest.warns(UserWarning, match="pin_memory")
        if not torch.cuda.is_available()
        else pytest.MonkeyPatch().context()
    ):
        loading = vldepot.torch.DataLoader(
            DepotIterable(molecules, FIELDS), pin_memory=True, num_workers=1, timeout=60
        )
        assert sorted(flat([check(batch) for batch in loading])) == list(range(N))


def test_pytorch_geometric(molecules: Path) -> None:
    geometric = pytest.importorskip("torch_geometric.data", reason="torch_geometric is not installed")
    dataset = DepotDataset(molecules, FIELDS, transform=vldepot.torch.to_data)
    data = dataset[6]
    assert (
        data.pos.shape == (7, 3)
        and data.z.dtype == torch.int64
        and data.y.tolist() == [6.0]
        and data.num_nodes == 7
        and data.idx.tolist() == [6]
    )
    from torch_geometric.loader import DataLoader as GeometricLoader

    batch = next(iter(GeometricLoader(dataset, batch_size=4)))
    assert (
        isinstance(batch, geometric.Batch)
        and batch.y.tolist() == [0.0, 1.0, 2.0, 3.0]
        and batch.batch.tolist() == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    )
    seen = []
    loading = vldepot.torch.DataLoader(
        DepotIterable(molecules, FIELDS, batch_size=8, shuffle=True, batch_transform=vldepot.torch.to_batch),
        num_workers=2,
        timeout=60,
    )
    for batch in loading:
        assert len(batch.to_data_list()) == batch.num_graphs and batch.pos.shape[0] == batch.ptr[-1]
        seen += batch.y.int().tolist()
    assert sorted(seen) == list(range(N))


def test_examples() -> None:
    import doctest

    known = {"np": np, "torch": torch, "vldepot": vldepot}
    modules = [
        vldepot.torch,
        *(module for name, module in vars(vldepot.torch).items() if isinstance(module, ModuleType)),
    ]
    results = [
        doctest.testmod(module, extraglobs=known)
        for module in modules
        if module.__name__.startswith("vldepot")
    ]
    assert sum(result.failed for result in results) == 0 and sum(result.attempted for result in results) > 30
