"""What the tests of `vldepot.torch` share."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vldepot

try:
    import torch

    import vldepot.torch  # noqa: F401
except ImportError as error:
    why = f"PyTorch is needed for these tests: {error}"
    collect_ignore_glob = ["test_*.py"]
    torch = None  # type: ignore[assignment]
else:
    why = ""
    torch.set_num_threads(1)
    # Children of the fork server then need not import them anew.
    multiprocessing.set_forkserver_preload(["torch", "vldepot.torch"])


def pytest_report_header() -> str | None:
    """Says why there are no tests."""
    return why or None


N = 300


def frame(n: int) -> vldepot.Frame:
    """A molecule all of whose numbers follow from `n`."""
    atoms = n % 13 + 1
    positions = n + np.arange(3 * atoms).reshape(atoms, 3) / 64
    return vldepot.Frame(
        positions=positions,
        forces=-positions,
        types=np.full(atoms, n % 7 + 1),
        energy=float(n),
        arrays={"partial": np.arange(atoms, dtype=np.float64) + n},
        per_frame={"dipole": np.array([n, 0.0, 1.0])},
    )


@pytest.fixture(scope="session")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed depot of 300 molecules, in small chunks and blocks, with two splits."""
    path = tmp_path_factory.mktemp("torch") / "molecules.vld"
    with vldepot.create(path, chunk_size=1 << 14) as depot:
        for n in range(N):
            depot[f"m{n:03}"] = frame(n)
        if torch is not None:
            vldepot.torch.write_split(depot, "train", [f"m{n:03}" for n in range(0, N, 2)])
            vldepot.torch.write_split(depot, "test", [f"m{n:03}" for n in range(1, N, 2)])
    return path


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depot of 70 molecules, whose numbers begin at 1000."""
    path = tmp_path_factory.mktemp("torch") / "few.vld"
    with vldepot.create(path) as depot:
        for n in range(70):
            depot[f"f{n:03}"] = frame(1000 + n)
    return path


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """PyTorch warns of more workers than cores."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield
