"""Arrays and frames: all dtypes come back, views copy nothing and stay valid, errors name the field."""

from __future__ import annotations

import copy
import gc
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot

DTYPES = ["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


def noise(dtype: Any, shape: tuple[int, ...], seed: int) -> Any:
    """Any bits that the dtype has."""
    random, dtype = np.random.default_rng(seed), np.dtype(dtype)
    if dtype == np.bool_:
        return random.integers(0, 2, shape).astype(bool)
    n = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(random.bytes(n), dtype).reshape(shape)


def same(one: Any, other: Any) -> bool:
    """Whether both have the same dtype, shape and bits."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_come_back_bit_by_bit(dtype: str) -> None:
    depot = vldepot.memory("array")
    shapes: list[tuple[int, ...]] = [(), (0,), (1,), (7,), (3, 0, 2), (2, 3, 4, 5), (1,) * 32]
    for n, shape in enumerate(shapes):
        array = noise(dtype, shape, n)
        depot[n] = array
        assert same(depot[n], array) and not depot[n].flags.writeable and depot[n].flags.c_contiguous
    big = noise(dtype, (50, 60, 3), 9)
    kept = big[::2, ::-3, 1]
    for name, view in (
        ("cut", kept),
        ("fortran", np.asfortranarray(big)),
        ("turned", big.T),
        ("reversed", big[::-1]),
    ):
        depot[name] = view
        assert same(depot[name], np.array(view, order="C"))
    swapped = np.array(big, big.dtype.newbyteorder(">"))
    depot["big-endian"] = swapped
    assert same(depot["big-endian"], big)
    if big.dtype.itemsize > 1:
        crooked = np.frombuffer(b"x" + big.tobytes(), np.uint8)[1:].view(big.dtype).reshape(big.shape)
        assert not crooked.flags.aligned
        depot["unaligned"] = crooked
        assert same(depot["unaligned"], big)
    fields = np.zeros(4, [("pad", "u1"), ("x", dtype)])
    depot["field of a struct"] = fields["x"]
    assert same(depot["field of a struct"], np.array(fields["x"]))


def test_random_shapes_come_back() -> None:
    random = np.random.default_rng(5)
    depot = vldepot.memory("array", preset="fast", chunk_size=1 << 16)
    kept = []
    for n in range(300):
        shape = tuple(random.integers(0, 6, random.integers(0, 5)))
        kept.append(noise(random.choice(DTYPES), shape, n))
        depot[n] = kept[-1]
    assert all(same(array, other) for array, other in zip(depot.values(threads=2), kept, strict=True))
    copied = vldepot.from_bytes(depot.to_bytes())
    assert all(same(copied[n], kept[n]) for n in random.permutation(300))


def test_bools_that_are_neither_0_nor_1_are_true() -> None:
    depot = vldepot.memory("array")
    depot["a"] = np.array([0, 1, 2, 255], np.uint8).view(bool)
    assert depot["a"].view(np.uint8).tolist() == [0, 1, 1, 1]


def test_bfloat16_takes_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    depot = vldepot.memory("array")
    array = np.array([0.5, -1.0, 3.0], ml_dtypes.bfloat16)
    depot["a"] = array
    assert same(depot["a"], array)
    frames = vldepot.memory(precision="bfloat16")
    frames["a"] = {"positions": [[0.5, 1.0, 2.0]]}
    assert frames["a"].positions.dtype == ml_dtypes.bfloat16 and frames["a"].positions.tolist() == [
        [0.5, 1.0, 2.0]
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(2, complex),
        np.array(["a"]),
        np.array([None]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "f4,f4"),
        np.zeros((1,) * 33),
    ],
)
def test_other_arrays_are_refused(wrong: Any) -> None:
    depot = vldepot.memory("array")
    with pytest.raises(vldepot.CodecError) as caught:
        depot["a"] = wrong
    assert isinstance(caught.value, ValueError) and "array" in str(caught.value)
    assert len(depot) == 0


def test_what_would_be_lost_is_refused() -> None:
    depot = vldepot.memory("array")
    with pytest.raises(TypeError, match="mask"):
        depot["a"] = np.ma.masked_array(np.zeros(3), mask=[0, 1, 0])
    with pytest.raises(TypeError, match="mask"):
        vldepot.Frame(positions=np.ma.masked_array(np.zeros((1, 3)), mask=True))

    class Own(np.ndarray):
        pass

    depot["a"] = np.ones((1, 3)).view(Own)
    assert (
        type(depot["a"]) is np.ndarray
        and type(vldepot.Frame(positions=np.ones((1, 3)).view(Own)).positions) is np.ndarray
    )


def test_what_is_no_array_becomes_one() -> None:
    depot = vldepot.memory("array")
    depot["a"] = [[1, 2], [3, 4]]  # type: ignore[assignment]
    depot["b"] = 2.5  # type: ignore[assignment]
    assert depot["a"].tolist() == [[1, 2], [3, 4]] and depot["b"].shape == () and float(depot["b"]) == 2.5


def address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def mapped(path: Path) -> list[tuple[int, int]]:
    """Where the file is mapped."""
    lines = [
        line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))
    ]
    return [(int(line[0].split("-")[0], 16), int(line[0].split("-")[1], 16)) for line in lines]


def test_views_lie_in_the_map_of_an_uncompressed_file(molecules: Path) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    for name in ("m000", "m029", "m150"):
        frame = depot[name]
        one, two = frame.positions, frame.positions
        assert address(one) == address(two) == address(depot[name].positions), "nothing is copied"
        assert one.base is frame and not one.flags.owndata
        assert any(
            start <= address(one) and address(one) + one.nbytes <= end for start, end in mapped(molecules)
        )
        # The file has these bytes, at the place in the map.
        assert one.tobytes() in molecules.read_bytes()
    view = depot.raw("m150")
    assert view.readonly and any(
        start <= np.frombuffer(view, np.uint8).__array_interface__["data"][0] < end
        for start, end in mapped(molecules)
    )


def test_views_of_a_compressed_record_share_its_block() -> None:
    depot = vldepot.memory()
    depot["a"] = {"positions": np.ones((5, 3)), "forces": np.ones((5, 3))}
    frame = depot["a"]
    assert address(frame.positions) == address(frame.positions)
    assert abs(address(frame.positions) - address(frame.forces)) < 1000


def test_arrays_outlive_the_depot_the_record_and_the_file(molecules: Path) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    expected = depot["m100"].positions.copy()
    views = [
        depot["m100"].positions,
        depot.get_many(["m100"])[0].positions,
        depot.at(100).positions,
        depot["m100"].types,
    ]
    raw = depot.raw("m100")
    record = bytes(raw)
    depot.close()
    del depot
    gc.collect()
    molecules.unlink()
    for n in range(50):
        np.full(100_000, n)  # what is freed by now is used again
    assert (
        all((view == expected).all() for view in views[:3])
        and views[3].shape == (11,)
        and bytes(raw) == record
    )
    arrays = vldepot.memory("array")
    arrays["a"] = expected
    kept = arrays["a"]
    del arrays
    gc.collect()
    assert (kept == expected).all()


def test_nobody_writes_into_a_record(molecules: Path) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    positions = depot["m100"].positions
    with pytest.raises(ValueError):
        positions[0] = 0
    with pytest.raises(ValueError):
        positions.flags.writeable = True
    with pytest.raises(ValueError):
        positions.setflags(write=True)
    for wrong in (
        lambda: positions.view().setflags(write=True),
        lambda: np.asarray(memoryview(positions)).setflags(write=True),
    ):
        with pytest.raises(ValueError):
            wrong()
    raw = depot.raw("m100")
    with pytest.raises(TypeError):
        raw[0] = 0
    with pytest.raises(ValueError):
        np.frombuffer(raw, np.uint8).flags.writeable = True
    assert not depot["m100"].cell is not None or not depot["m100"].cell.flags.writeable


def full_frame(n: int) -> vldepot.Frame:
    random = np.random.default_rng(n)
    vectors = lambda: random.normal(size=(n, 3)).astype(np.float32)  # noqa: E731
    return vldepot.Frame(
        name="a frame",
        positions=vectors(),
        velocities=vectors(),
        forces=vectors(),
        charges=random.normal(size=n).astype(np.float32),
        types=random.integers(0, 100, n).astype(np.int32),
        masses=random.normal(size=n).astype(np.float32),
        cell=random.normal(size=(3, 3)),
        pbc=(True, False, True),
        step=-7,
        time=0.1,
        energy=float("nan"),
        stress=random.normal(size=(3, 3)),
        arrays={"spins": random.normal(size=(n, 2)), "flags": random.integers(0, 2, n).astype(bool)},
        per_frame={"k": np.array(5, np.uint8), "weights": np.zeros((0, 4))},
        topology_name="topology",
        topology=vldepot.Topology(
            types=np.arange(n),
            masses=np.ones(n),
            charges=np.zeros(n),
            names=[f"A{i % 3}" for i in range(n)],
            bonds=[[0, n - 1]],
            residues=np.zeros(n, int),
            residue_names=["HOH"],
            molecules=np.zeros(n, int),
        ),
    )


def assert_same_frame(one: vldepot.Frame, other: vldepot.Frame) -> None:
    def check(a: Any, b: Any) -> None:
        assert list(a) == list(b)
        for name in a:
            if isinstance(a[name], dict):
                check(a[name], b[name])
            elif isinstance(a[name], np.ndarray):
                assert a[name].shape == b[name].shape and (a[name].astype(b[name].dtype) == b[name]).all()
            elif a[name] != a[name]:
                assert b[name] != b[name]
            else:
                assert a[name] == b[name]

    check(one.to_dict(), other.to_dict())


def test_every_field_of_a_frame_comes_back() -> None:
    depot = vldepot.memory()
    given = full_frame(6)
    depot["a"] = given
    assert_same_frame(given, depot["a"])
    assert depot["a"].fields == given.fields and len(given.fields) == 17
    # Read, and put again, as a frame, as its fields, and through pickle.
    depot["b"] = depot["a"]
    depot["c"] = depot["a"].to_dict()  # type: ignore[assignment]
    depot["d"] = pickle.loads(pickle.dumps(depot["a"]))
    depot["e"] = copy.deepcopy(given)
    depot.put("f", **given.to_dict())
    for name in "bcdef":
        assert_same_frame(given, depot[name])
        assert bytes(depot.raw(name)) == bytes(depot.raw("a"))
    text = repr(depot["a"])
    assert "6 atoms" in text and "step=-7" in text and "topology" in repr(depot["a"].topology).lower()


def test_a_frame_is_changed_by_making_another() -> None:
    depot = vldepot.memory()
    depot["a"] = {"positions": np.zeros((2, 3)), "energy": 1.0, "step": 5}
    changed = depot["a"].replace(energy=2.0, step=None)
    assert (changed.energy, changed.step, changed.n_atoms) == (2.0, None, 2)
    smaller = depot["a"].replace(positions=np.zeros((1, 3)))
    depot["b"] = smaller
    assert depot["b"].n_atoms == 1
    with pytest.raises(AttributeError):
        changed.energy = 3.0  # type: ignore[misc]


def test_absent_fields_are_none() -> None:
    depot = vldepot.memory()
    depot["empty"] = vldepot.Frame()
    depot["atoms"] = vldepot.Frame(n_atoms=5)
    assert depot["empty"].n_atoms == 0 and depot["atoms"].n_atoms == 5
    for name in (
        "positions",
        "velocities",
        "forces",
        "charges",
        "types",
        "masses",
        "cell",
        "pbc",
        "step",
        "time",
        "energy",
        "stress",
        "name",
        "topology",
        "topology_name",
    ):
        assert getattr(depot["empty"], name) is None
        assert getattr(vldepot.Frame(), name) is None
    assert depot["empty"].arrays == {} and depot["empty"].per_frame == {}
    assert vldepot.Frame(positions=None, energy=None).fields == ()


@pytest.mark.parametrize(
    ("fields", "field", "expected", "found"),
    [
        ({"positions": np.zeros((2, 3)), "forces": np.zeros((3, 3))}, "forces", (2, 3), (3, 3)),
        ({"positions": np.zeros(6)}, "positions", (6, 3), (6,)),
        ({"positions": np.zeros((2, 2))}, "positions", (2, 3), (2, 2)),
        ({"positions": np.zeros((2, 3)), "types": [1]}, "types", (2,), (1,)),
        ({"positions": np.zeros((2, 3), bool)}, "positions", "a float", "bool"),
        ({"types": [1.5]}, "types", "an integer", "float64"),
        ({"types": np.array([2**40])}, "types", (-(2**31), 2**31 - 1), 2**40),
        ({"positions": np.zeros((1, 3)), "arrays": {"a": np.zeros(2)}}, "a", (1,), (2,)),
        (
            {"positions": np.zeros((1, 3), complex)},
            "positions",
            "a bool, an integer or a float of at most 64 bits",
            "complex128",
        ),
        ({"n_atoms": 2, "topology": {"bonds": [[0, 2]]}}, "topology.bonds", (0, 1), 2),
        ({"cell": [1.0, 2.0, 3.0]}, "cell", (3, 3), (3,)),
        ({"pbc": (True, False)}, "pbc", (3,), (2,)),
    ],
)
def test_a_refused_field_is_named_with_what_was_expected(
    fields: Any, field: str, expected: Any, found: Any
) -> None:
    depot = vldepot.memory()
    with pytest.raises(vldepot.CodecError) as caught:
        depot["x"] = fields
    error = caught.value
    assert (error.field, error.expected, error.found) == (field, expected, found)
    assert isinstance(error, ValueError) and field in str(error) and len(depot) == 0
    assert error.__cause__ is None or type(error.__cause__) is ValueError


def test_numbers_that_do_not_fit_are_refused() -> None:
    depot = vldepot.memory()
    with pytest.raises(vldepot.CodecError, match="does not fit"):
        depot["a"] = {"positions": [[1e300, 0.0, 0.0]]}
    depot["a"] = {"positions": [[float("inf"), float("nan"), -0.0]]}
    assert depot["a"].positions.tobytes() == np.array([[np.inf, np.nan, -0.0]], np.float32).tobytes()
    for wrong in ({"unknown": 1}, {"arrays": 5}, {"topology": 5}, {"topology": {"names": "HOH"}}):
        with pytest.raises(TypeError):
            depot["b"] = wrong  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        depot["b"] = np.zeros((2, 3))  # type: ignore[call-overload]


def test_scalars_of_numpy_are_numbers() -> None:
    depot = vldepot.memory()
    depot["a"] = vldepot.Frame(
        step=np.int32(5),
        energy=np.float32(0.5),
        time=np.float64(1),
        pbc=np.array([True, False, True]),
        n_atoms=np.int64(2),
    )
    frame = depot["a"]
    assert (frame.step, frame.energy, frame.time, frame.pbc, frame.n_atoms) == (
        5,
        0.5,
        1.0,
        (True, False, True),
        2,
    )
    assert vldepot.Frame(pbc=True).pbc == (True, True, True)


def test_frames_of_each_precision() -> None:
    values = np.array([[0.1, -2.0, 3.5]])
    for precision, dtype in (("float32", "f4"), ("float64", "f8"), ("float16", "f2"), ("as_given", "f8")):
        depot = vldepot.memory(precision=precision)
        depot["a"] = {"positions": values, "charges": [0.5]}
        assert same(depot["a"].positions, values.astype(dtype))
        assert depot["a"].charges.dtype == np.dtype(dtype)
        assert depot["a"].replace(energy=1.0).positions.dtype == np.dtype(dtype)


def test_lists_of_whole_numbers_are_positions() -> None:
    depot = vldepot.memory()
    depot["a"] = vldepot.Frame(positions=[[0, 0, 1]], charges=[1], types=[8], masses=[16])
    assert depot["a"].positions.tolist() == [[0.0, 0.0, 1.0]] and depot["a"].types.tolist() == [8]
    depot["b"] = vldepot.Frame(positions=np.array([[0, 0, 1]]))
    assert depot["b"].positions.tolist() == [[0.0, 0.0, 1.0]]
