"""What the tests share."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test makes its depot."""
    return tmp_path / "test.vld"


@pytest.fixture
def molecules(path: Path) -> Path:
    """A closed, uncompressed depot of 200 molecules."""
    random = np.random.default_rng(0)
    with vldepot.create(path, preset="uncompressed", chunk_size=1 << 16) as depot:
        for n in range(200):
            depot[f"m{n:03}"] = vldepot.Frame(
                positions=random.normal(size=(n % 30 + 1, 3)).astype(np.float32),
                types=random.integers(1, 9, n % 30 + 1),
                energy=float(n),
                step=10 * n,
            )
    return path


@pytest.fixture(autouse=True)
def doctest_names(doctest_namespace: dict[str, Any]) -> None:
    """Names that examples use."""
    doctest_namespace["vldepot"] = vldepot
    doctest_namespace["np"] = np


def examples(module: Any) -> list[doctest.DocTest]:
    """The examples in the docstrings of a module, also of classes and functions that are written in Rust."""
    finder, parser, found = doctest.DocTestFinder(), doctest.DocTestParser(), []
    names = {"vldepot": vldepot, "np": np}
    for test in finder.find(module, module.__name__, globs={**vars(module), **names}):
        if test.examples:
            found.append(test)
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) not in ("vldepot", "vldepot._vldepot"):
            continue
        members = [(name, value)]
        if isinstance(value, type):
            members += [(f"{name}.{member}", getattr(value, member)) for member in vars(value)]
        for label, member in members:
            text = getattr(member, "__doc__", None) or ""
            if ">>>" in text:
                found.append(parser.get_doctest(text, {**names}, f"{module.__name__}.{label}", None, 0))
    return found
