"""Tables, as pyarrow, polars and pandas take them."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow
import pytest

import vldepot
from vldepot import Frame

ORIGIN = np.zeros((1, 3))


def depot_of(names: list[Any]) -> vldepot.Depot[Frame]:
    """A depot whose frames lack some scalars."""
    depot = vldepot.memory(columns=["step", "energy"])
    for n, name in enumerate(names):
        step = None if n % 5 == 3 else 10 * n
        energy = {2: float("nan"), 4: None}.get(n % 5, -n / 3)
        depot[name] = Frame(positions=ORIGIN, step=step, energy=energy)
    return depot


@pytest.fixture
def table() -> vldepot.Table:
    return depot_of([f"Å{n}" for n in range(20)]).table()


def test_a_table_is_looked_up_by_column(table: vldepot.Table) -> None:
    assert list(table) == table.keys() == ["name", "step", "energy"]
    assert len(table) == 3 and table.shape == (20, 3)
    assert "step" in table and "spin" not in table and 3 not in table
    assert table.get("spin") is None and table.get("spin", 1) == 1 and table.get("name") == table["name"]
    assert [name for name, _ in table.items()] == table.keys() and len(table.values()) == 3
    assert table["step"].dtype == np.float64 and np.isnan(table["step"][3])
    with pytest.raises(KeyError, match='no column "spin"; there are name, step, energy'):
        table["spin"]
    assert repr(table) == "<vldepot.Table of 20 rows: name, step, energy>"
    with pytest.raises(TypeError, match="dict"):
        table.__reduce__()


def test_arrays_share_the_table_and_outlive_it() -> None:
    table = vldepot.memory(columns=["step", "energy"]).table()
    assert table["step"].dtype == np.int64 and table["energy"].shape == (0,)
    depot = vldepot.memory(columns=["step"])
    for n in range(1000):
        depot[n] = Frame(positions=ORIGIN, step=n)
    table = depot.table()
    steps = table["step"]
    assert not steps.flags.writeable
    assert steps.ctypes.data == table["step"].ctypes.data
    depot.close()
    del depot, table
    gc.collect()
    np.testing.assert_array_equal(steps, np.arange(1000))


def test_pyarrow_shares_the_numbers(table: vldepot.Table) -> None:
    found = pyarrow.table(table)
    found.validate(full=True)
    assert found.schema == pyarrow.schema(table)
    assert found.schema.types == [pyarrow.large_string(), pyarrow.int64(), pyarrow.float64()]
    assert found["name"].to_pylist() == table["name"]
    assert found["step"].to_pylist() == [None if n % 5 == 3 else 10 * n for n in range(20)]
    energies = found["energy"].to_pylist()
    assert energies[4] is None and np.isnan(energies[2]) and energies[5] == -5 / 3
    assert found["energy"].null_count == 4
    assert found["energy"].chunk(0).buffers()[1].address == table["energy"].ctypes.data


def test_polars_takes_it_with_nulls(table: vldepot.Table) -> None:
    found = polars.DataFrame(table)
    assert found.schema == {"name": polars.String, "step": polars.Int64, "energy": polars.Float64}
    assert found["step"].null_count() == 4 and found["energy"].null_count() == 4
    assert found["energy"].is_nan().sum() == 4
    assert found["energy"].to_arrow().buffers()[1].address == table["energy"].ctypes.data
    lowest = found.filter(~polars.col("energy").is_nan()).sort("energy")["name"][0]
    assert lowest == "Å18"


def test_pandas_takes_it(table: vldepot.Table) -> None:
    found = pandas.DataFrame.from_arrow(table)
    assert found.columns.tolist() == ["name", "step", "energy"] and found["name"].tolist() == table["name"]
    np.testing.assert_array_equal(found["energy"], table["energy"])
    by_numpy = pandas.DataFrame(dict(table))
    np.testing.assert_array_equal(by_numpy["step"], table["step"])
    # Without this, pandas would silently make one column of the labels.
    with pytest.raises(TypeError, match="dict"):
        pandas.DataFrame(table)
    with pytest.raises(TypeError, match="a table is no array"):
        np.asarray(table)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([b"a", b"", b"\xff\x00"], pyarrow.large_binary()),
        ([3, -(2**63), 2**63 - 1], pyarrow.int64()),
        ([3, 2**64 - 1], pyarrow.uint64()),
        (["a", "", "\0b"], pyarrow.large_string()),
        ([], pyarrow.large_string()),
    ],
)
def test_names_have_the_type_of_all_of_them(names: list[Any], kind: pyarrow.DataType) -> None:
    table = depot_of(names).table()
    found = pyarrow.table(table)
    found.validate(full=True)
    assert found.schema.field("name").type == kind
    assert found["name"].to_pylist() == names == table["name"]
    assert polars.DataFrame(table)["name"].to_list() == names


@pytest.mark.parametrize("names", [["a", 1], ["a", b"a"], [-1, 2**64 - 1]])
def test_names_without_a_common_type_are_refused(names: list[Any]) -> None:
    depot = depot_of(names)
    table = depot.table()
    assert table["name"] == names
    for call in (table.__arrow_c_schema__, table.__arrow_c_stream__, lambda: pyarrow.table(table)):
        with pytest.raises(ValueError, match=r"names=False"):
            call()
    assert pyarrow.table(depot.table(names=False)).num_rows == 2
    # One kind is left.
    del depot[names[0]]
    assert pyarrow.table(depot.table()).num_rows == 1


def test_empty_tables_are_tables() -> None:
    found = pyarrow.table(depot_of([]).table())
    found.validate(full=True)
    assert found.num_rows == 0 and found.schema.names == ["name", "step", "energy"]
    assert polars.DataFrame(depot_of([]).table()).shape == (0, 3)
    bytes_only = vldepot.memory("bytes")
    bytes_only["a"] = b".."
    assert pyarrow.table(bytes_only.table()).to_pydict() == {"name": ["a"]}
    nothing = bytes_only.table(names=False)
    assert nothing.shape == (0, 0) and pyarrow.table(nothing).num_columns == 0


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 1000])
def test_every_row_has_its_own_null(count: int) -> None:
    depot = vldepot.memory(columns=["energy"])
    expected = [None if n * n % 7 == 2 else float(n) for n in range(count)]
    for n, energy in enumerate(expected):
        depot[n] = Frame(positions=ORIGIN, energy=energy)
    found = pyarrow.table(depot.table())
    found.validate(full=True)
    assert found["energy"].to_pylist() == expected


def test_streams_are_released_by_whoever_has_them(table: vldepot.Table) -> None:
    for _ in range(100):
        table.__arrow_c_schema__()
        table.__arrow_c_stream__(None)
    capsule = table.__arrow_c_stream__()
    reader = pyarrow.RecordBatchReader._import_from_c_capsule(capsule)
    with pytest.raises(pyarrow.ArrowInvalid):
        pyarrow.RecordBatchReader._import_from_c_capsule(capsule)
    del capsule
    schema = reader.schema
    batches = list(reader)
    assert len(batches) == 1 and list(reader) == [] and batches[0].schema == schema
    del reader, table
    # One column outlives all else, and is dropped by another thread.
    column = [batches.pop().column(2)]
    gc.collect()
    assert column[0][5].as_py() == -5 / 3
    thread = threading.Thread(target=column.clear)
    thread.start()
    thread.join()
    assert not column


def test_callers_of_c_are_told_of_null_pointers(table: vldepot.Table) -> None:
    capsule = table.__arrow_c_stream__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    stream = ctypes.cast(pointer(capsule, b"arrow_array_stream"), ctypes.POINTER(ctypes.c_void_p * 5))
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    for nth in (0, 1):
        assert call(stream.contents[nth] or 0)(ctypes.addressof(stream.contents), None) == 22


def test_tables_do_not_leak() -> None:
    depot = depot_of(list(range(50_000)))
    resource = pytest.importorskip("resource")

    def use() -> int:
        table = depot.table()
        pyarrow.table(table)
        table.__arrow_c_stream__()
        table["energy"]
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    for _ in range(10):
        before = use()
    for _ in range(50):
        after = use()
    # In KiB. 50 tables of that size have 60 MB of numbers.
    assert after - before < 20_000


def test_a_table_needs_no_pyarrow(tmp_path: Path) -> None:
    path = tmp_path / "a.vld"
    with vldepot.create(path, columns=["energy"]) as depot:
        depot["a"] = Frame(positions=ORIGIN, energy=1.5)
    code = (
        "import sys; sys.modules['pyarrow'] = None; import vldepot, polars;"
        f"print(polars.DataFrame(vldepot.open({str(path)!r}).table()).rows())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[('a', 1.5)]"


def test_metadata_of_records_are_columns_too() -> None:
    depot = vldepot.memory(columns=["energy"])
    metadata: list[Any] = [
        {"temperature": 300, "smiles": "C", "relaxed": True, "gap": 1, "unused": [1]},
        None,
        {"temperature": 310, "smiles": "", "gap": 0.5},
        "no dict",
        {"temperature": None, "relaxed": False, "smiles": "Å"},
    ]
    for n, value in enumerate(metadata):
        depot.put(f"m{n}", positions=ORIGIN, energy=-1.0 * n, metadata=value)
    table = depot.table(metadata=["temperature", "smiles", "relaxed", "gap", "missing"])
    assert table.keys() == ["name", "energy", "temperature", "smiles", "relaxed", "gap", "missing"]
    np.testing.assert_array_equal(table["temperature"], [300, np.nan, 310, np.nan, np.nan])
    assert table["smiles"] == ["C", None, "", None, "Å"] and table["relaxed"] == [
        True,
        None,
        None,
        None,
        False,
    ]
    np.testing.assert_array_equal(table["gap"], [1.0, np.nan, 0.5, np.nan, np.nan])
    assert np.isnan(table["missing"]).all()
    found = pyarrow.table(table)
    found.validate(full=True)
    assert found["temperature"].to_pylist() == [300, None, 310, None, None]
    assert found.schema.field("temperature").type == pyarrow.int64()
    assert found["smiles"].to_pylist() == ["C", None, "", None, "Å"]
    assert found["relaxed"].to_pylist() == [True, None, None, None, False]
    assert found["gap"].to_pylist() == [1.0, None, 0.5, None, None] and found["missing"].null_count == 5
    frame = polars.DataFrame(depot.table([], names=False, metadata=["relaxed", "smiles"]))
    assert frame.rows() == [(True, "C"), (None, None), (None, ""), (None, None), (False, "Å")]
    assert depot.table(metadata=[]).keys() == ["name", "energy"]
    depot = vldepot.memory("json")
    for n in range(10_000):
        depot.put(n, n, metadata={"n": n})
    np.testing.assert_array_equal(depot.table(metadata=["n"])["n"], np.arange(10_000))
    assert vldepot.memory("json").table(metadata=["n"]).shape == (0, 2)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1, "a"], "several types"),
        ([True, 1], "several types"),
        ([[1]], "a record has a list"),
        ([{"a": 1}], "a record has a dict"),
        ([b"a"], "a record has bytes"),
        ([2**63], "does not fit"),
        ([0.5, 2**53 + 1], "does not fit"),
    ],
)
def test_metadata_that_are_no_column_are_refused(values: list[Any], why: str) -> None:
    depot = vldepot.memory("json")
    for n, value in enumerate(values):
        depot.put(n, n, metadata={"x": value})
    with pytest.raises(ValueError, match=f'"x".*{why}'):
        depot.table(metadata=["x"])


def test_columns_of_one_name_are_refused() -> None:
    depot = depot_of(["a"])
    depot.set_metadata_of("a", {"energy": 1, "name": 2})
    for arguments in ({"columns": ["step", "step"]}, {"metadata": ["energy"]}, {"metadata": ["name"]}):
        with pytest.raises(ValueError, match="two columns would be called"):
            depot.table(**arguments)  # type: ignore[arg-type]
    assert depot.table([], names=False, metadata=["energy", "name"]).shape == (1, 2)
    assert list(depot.table("step", names=False)) == ["step"]


def test_rows_belong_together_while_another_thread_replaces_records() -> None:
    depot = vldepot.memory(columns=["step", "energy"])
    frames = [Frame(positions=ORIGIN, step=n, energy=float(n)) for n in range(300)]
    depot.update(dict(enumerate(frames)))
    done = threading.Event()

    def replace() -> None:
        for turn in range(20):
            depot.update({n: frames[n] for n in range(turn % 7, 300, 7)})
            del depot[turn]
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    while not done.is_set():
        table = depot.table()
        names = np.array(table["name"])
        np.testing.assert_array_equal(table["step"], names)
        np.testing.assert_array_equal(table["energy"], names)
    thread.join()
