"""Depots joined by name: frames from one, labels and features from others."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vldepot.torch", reason="PyTorch is not installed")

import torch
import torch.utils.data
from shared import FIELDS, N, check, flat

import vldepot
from vldepot.torch import DataLoader, DepotDataset, DepotIterable, FrameBatch, Join, collate


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of each molecule, in another order: charges, a row for each atom, a vector; some have no `few`."""
    folder = tmp_path_factory.mktemp("labels")
    numbers = np.random.default_rng(3).permutation(N + 20).tolist()
    with vldepot.create(folder / "frames.vld") as depot:
        for n in numbers:
            depot[f"m{n:03}"] = vldepot.Frame(charges=np.full(n % 13 + 1, n / 4), time=n / 2)
    with vldepot.create(folder / "atoms.vld", "array") as depot:
        for n in numbers:
            depot[f"m{n:03}"] = np.full((n % 13 + 1, 2), n, np.float64)
    with vldepot.create(folder / "vectors.vld", "array") as depot:
        for n in numbers:
            depot[f"m{n:03}"] = np.array([n, -n], np.int32)
    with vldepot.create(folder / "few.vld", "array") as depot:
        for n in numbers:
            if n % 3:
                depot[f"m{n:03}"] = np.float32(n).reshape(())
    return {path.stem: path for path in folder.iterdir()}


def joins(labels: dict[str, Path], *more: Join) -> list[Join]:
    return [
        Join(labels["frames"], ["charges", "time"]),
        Join(labels["atoms"], "rows", per_atom=True),
        Join(labels["vectors"], "vector", cache_bytes=1 << 20),
        *more,
    ]


def check_joined(batch: FrameBatch) -> list[int]:
    numbers = check(batch)
    of_atoms = batch.indices[batch.batch]
    assert torch.equal(batch.charges, (of_atoms / 4).float()) and torch.equal(batch.time, batch.indices / 2.0)
    assert batch.rows.dtype == torch.float64 and torch.equal(
        batch.rows, of_atoms[:, None].expand(-1, 2).double()
    )
    assert batch.vector.dtype == torch.int32 and batch.vector.tolist() == [[n, -n] for n in numbers]
    assert {"charges", "rows"} <= batch.per_atom and "vector" not in batch.per_atom
    return numbers


@pytest.mark.parametrize("workers", [0, 2])
def test_fields_come_from_all(molecules: Path, labels: dict[str, Path], workers: int) -> None:
    dataset = DepotIterable(molecules, FIELDS, join=joins(labels), batch_size=7, shuffle=True)
    loading = DataLoader(dataset, num_workers=workers)
    for _ in range(2):
        assert sorted(flat([check_joined(batch) for batch in loading])) == list(range(N))
    by_number = pickle.loads(pickle.dumps(DepotDataset(molecules, FIELDS, join=joins(labels))))
    plain = torch.utils.data.DataLoader(by_number, 16, shuffle=True, collate_fn=collate, num_workers=workers)
    assert sorted(flat([check_joined(batch) for batch in plain])) == list(range(N))
    sample = by_number[20]
    assert sample["rows"].shape == (8, 2) and sample["vector"].tolist() == [20, -20]
    assert check_joined(collate([by_number[n] for n in (5, 20)])) == [5, 20]


def test_records_that_are_not_in_all(molecules: Path, labels: dict[str, Path]) -> None:
    for make in (DepotIterable, DepotDataset):
        with pytest.raises(vldepot.NotFound, match="few.vld has no record 'm000'"):
            make(molecules, FIELDS, join=Join(labels["few"], "few"))
        with pytest.raises(vldepot.NotFound, match="'m003'"):
            make(molecules, FIELDS, join=Join(labels["few"], "few"), names=["m001", "m003"])
        with pytest.raises(vldepot.NotFound, match="nobody"):
            make(molecules, FIELDS, join=Join(labels["few"], "few"), names=["nobody"])
    few = Join(labels["few"], "few", missing="skip")
    left = [n for n in range(N) if n % 3]
    dataset = DepotIterable(molecules, FIELDS, join=joins(labels, few), batch_size=7, shuffle=True)
    state = dataset.state_dict()
    seen = []
    for batch in dataset:
        assert batch.few.tolist() == batch.indices.tolist()
        seen += check_joined(batch)
        state = state if len(seen) > 50 else dataset.state_dict()
    assert sorted(seen) == left
    again = DepotIterable(molecules, FIELDS, join=joins(labels, few), batch_size=7, shuffle=True)
    again.load_state_dict(state)
    assert (
        state["next_batch"]
        and flat([check_joined(batch) for batch in again]) == seen[7 * state["next_batch"] :]
    )
    by_number = DepotDataset(molecules, FIELDS, join=few)
    assert len(by_number) == len(left) and check(by_number.__getitems__(range(len(left)))) == left
    for subset in ({"indices": [9, 4, -1]}, {"split": "train"}):
        chosen: Any = [4, N - 1] if "indices" in subset else [n for n in range(0, N, 2) if n % 3]
        chosen = [n for n in chosen if n % 3]
        some = flat([check(batch) for batch in DepotIterable(molecules, FIELDS, join=few, **subset)])
        assert some == chosen
        assert (
            DepotDataset(molecules, "energy", join=few, **subset)
            .__getitems__(range(len(chosen)))
            .few.tolist()
            == chosen
        )
    assert len(list(DepotIterable(molecules, FIELDS, join=few, max_atoms=40))) > 1


def test_joins_that_do_not_fit(molecules: Path, labels: dict[str, Path], tmp_path: Path) -> None:
    with vldepot.create(tmp_path / "values.vld", "json") as depot:
        depot["m000"] = 5
    with vldepot.create(tmp_path / "odd.vld", "array") as depot:
        depot.update({f"m{n:03}": np.zeros((n % 12 + 1, 2)) for n in range(N)})
    for wrong in (
        lambda: Join(tmp_path / "values.vld", "a"),
        lambda: Join(labels["atoms"]),
        lambda: Join(labels["atoms"], ["a", "b"]),
        lambda: Join(labels["frames"], "charges", per_atom=True),
        lambda: Join(labels["frames"], "charges", missing="perhaps"),  # type: ignore[arg-type]
        lambda: DepotIterable(molecules, ["energy"], join=Join(labels["vectors"], "energy")),
        lambda: DepotIterable(tmp_path / "odd.vld", join=Join(labels["vectors"], "a")),
    ):
        with pytest.raises(vldepot.InvalidOptions):
            wrong()
    with pytest.raises(TypeError):
        DepotDataset(molecules, join=labels["atoms"])  # type: ignore[arg-type]
    with pytest.raises(vldepot.FileNotFound):
        Join(tmp_path / "none.vld")
    # m012 has 13 atoms there, and 1 here.
    odd = DepotDataset(molecules, "energy", join=Join(tmp_path / "odd.vld", "odd", per_atom=True))
    assert odd[11]["odd"].shape == (12, 2)
    with pytest.raises(ValueError, match="'m012' has 13 atoms in .*, and 1 in .*odd.vld"):
        odd.__getitems__([3, 12])
    with pytest.raises(ValueError, match="shapes"):
        DepotDataset(molecules, "energy", join=Join(labels["atoms"], "rows")).__getitems__([3, 12])


def test_mixed_depots_share_their_labels(molecules: Path, few: Path, tmp_path: Path) -> None:
    with vldepot.create(tmp_path / "both.vld", "array") as depot:
        depot.update({f"m{n:03}": np.array(n) for n in range(N)})
        depot.update({f"f{n:03}": np.array(1000 + n) for n in range(70)})
    dataset = DepotIterable(
        [molecules, few], "energy", join=Join(tmp_path / "both.vld", "label"), batch_size=8, shuffle=True
    )
    for batch in dataset:
        assert torch.equal(batch.label.double(), batch.energy) and len(batch) == len(batch.sources)
