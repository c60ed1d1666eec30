"""What the tests of `vldepot.torch` share. They are skipped where PyTorch is missing."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import vldepot

# This folder is called torch too, so it is `vldepot.torch` that says whether PyTorch is there.
try:
    import vldepot.torch
except ImportError:
    pass
else:
    import torch

    torch.set_num_threads(1)
    # Children of the fork server then need not import them anew.
    multiprocessing.set_forkserver_preload(["torch", "vldepot.torch"])


@pytest.fixture(scope="session")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed depot of 300 molecules, in small chunks and blocks, with two splits."""
    from shared import N, frame

    path = tmp_path_factory.mktemp("torch") / "molecules.vld"
    with vldepot.create(path, chunk_size=1 << 14) as depot:
        for n in range(N):
            depot[f"m{n:03}"] = frame(n)
        vldepot.torch.write_split(depot, "train", [f"m{n:03}" for n in range(0, N, 2)])
        vldepot.torch.write_split(depot, "test", [f"m{n:03}" for n in range(1, N, 2)])
    return path


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depot of 70 molecules, whose numbers begin at 1000."""
    from shared import frame

    path = tmp_path_factory.mktemp("torch") / "few.vld"
    with vldepot.create(path) as depot:
        for n in range(70):
            depot[f"f{n:03}"] = frame(1000 + n)
    return path


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """PyTorch warns of more workers than cores."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield
