"""What it means that something came back equal: values, types, dtypes and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_same(old: Any, new: Any, where: str = "") -> None:
    """Equal to the last bit, with NaN equal to NaN."""
    assert type(old) is type(new), f"{where}: {type(old)} became {type(new)}"
    if isinstance(old, dict):
        assert list(old) == list(new), f"{where}: {list(old)} became {list(new)}"
        for key in old:
            assert_same(old[key], new[key], f"{where}[{key!r}]")
    elif isinstance(old, list | tuple):
        assert len(old) == len(new), where
        for at, (a, b) in enumerate(zip(old, new, strict=True)):
            assert_same(a, b, f"{where}[{at}]")
    elif isinstance(old, np.ndarray) and old.dtype == object:
        assert old.shape == new.shape and new.dtype == object, where
        assert_same(old.ravel().tolist(), new.ravel().tolist(), where)
    elif isinstance(old, np.ndarray | np.generic):
        assert (old.dtype, old.shape) == (new.dtype, new.shape), f"{where}: {old.dtype} became {new.dtype}"
        assert old.tobytes() == new.tobytes(), f"{where}: {old} became {new}"
    elif isinstance(old, float | complex):
        assert repr(old) == repr(new), f"{where}: {old} became {new}"
    elif not hasattr(old, "todict"):
        assert old == new, f"{where}: {old!r} became {new!r}"
    else:
        from ase.io.jsonio import encode

        assert encode(old) == encode(new), where


def assert_same_atoms(old: Any, new: Any, *, results: bool = True) -> None:
    """All that `ase.Atoms` have, and the results of their calculators."""
    assert list(old.arrays) == list(new.arrays)
    for key in old.arrays:
        assert_same(old.arrays[key], new.arrays[key], f"arrays[{key!r}]")
    assert_same(np.array(old.cell), np.array(new.cell), "cell")
    assert_same(old.pbc, new.pbc, "pbc")
    assert_same(old.get_celldisp(), new.get_celldisp(), "celldisp")
    assert_same(old.info, new.info, "info")
    assert [c.todict() for c in old.constraints].__repr__() == [
        c.todict() for c in new.constraints
    ].__repr__()
    if results:
        there = [dict(a.calc.results) if a.calc is not None else {} for a in (old, new)]
        assert list(there[0]) == list(there[1])
        for key, value in there[0].items():
            assert_same(value, there[1][key], f"results[{key!r}]")
        assert not there[1] or not new.calc.check_state(new)
