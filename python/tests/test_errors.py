"""Errors mirror those of the library, one to one, with their facts."""

from __future__ import annotations

import errno
import io
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import vldepot
from vldepot import errors
from vldepot._vldepot import _examples_of_errors

SOURCE = Path(__file__).parents[2] / "src" / "error.rs"


def kinds_of_the_library() -> dict[str, list[str]]:
    """The variants of `ErrorKind` and their fields."""
    text = SOURCE.read_text()
    body = text[text.index("pub enum ErrorKind {") :]
    body = body[: body.index("\n}")]
    found = re.findall(r"^    ([A-Z]\w*)(?: \{([^}]*)\})?,$", body, re.MULTILINE)
    return {name: re.findall(r"(\w+):", fields) for name, fields in found}


#: Facts whose names differ: a `cause` would be taken for the cause, and a part is in three parts.
RENAMED = {("Poisoned", "cause"): "why"}


def test_every_kind_has_a_class_and_an_example() -> None:
    kinds = kinds_of_the_library()
    assert len(kinds) > 35
    classes = {
        cls.kind: cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.Error) and "kind" in vars(cls) and cls.kind
    }
    assert set(classes) == set(kinds), "mirror each ErrorKind in python/vldepot/errors.py and src/error.rs"
    examples = {type(error).kind: error for error in _examples_of_errors()}
    assert set(examples) == set(kinds), "give each ErrorKind an example in python/src/error.rs"
    for kind, fields in kinds.items():
        for field in fields:
            fact = RENAMED.get((kind, field), field)
            assert hasattr(examples[kind], fact), f"{kind}.{fact}"
            assert any(
                fact in cls.__annotations__ for cls in classes[kind].__mro__ if "__annotations__" in vars(cls)
            ), f"{kind}.{fact} has no annotation"


@pytest.mark.parametrize("error", _examples_of_errors(), ids=lambda error: type(error).kind)
def test_errors_say_what_happened_and_survive_pickling(error: vldepot.Error) -> None:
    assert isinstance(error, vldepot.Error) and type(error) is not errors._Unknown
    assert error.path == "run.vld" and error.record == '"a"' and str(error).startswith("run.vld: ")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and again._facts == error._facts
    assert getattr(vldepot, type(error).__name__) is type(error) and type(error).__name__ in errors.__all__
    assert type(error).__doc__


def test_builtin_classes_are_those_of_python(path: Path) -> None:
    by_kind = {type(error).kind: error for error in _examples_of_errors()}
    for kind, builtin in {
        "NotFound": KeyError,
        "LostCommit": LookupError,
        "OutOfRange": IndexError,
        "PathExists": FileExistsError,
        "Locked": BlockingIOError,
        "Io": OSError,
        "NoRoom": OSError,
        "ReadOnly": io.UnsupportedOperation,
        "InvalidOptions": ValueError,
        "NewerFormat": NotImplementedError,
        "Forked": RuntimeError,
    }.items():
        assert isinstance(by_kind[kind], builtin), kind
    assert not isinstance(by_kind["LostCommit"], KeyError)
    assert by_kind["Io"].errno == errno.ENOSPC and by_kind["PathExists"].errno == errno.EEXIST  # type: ignore[attr-defined]


def test_paths_fail_as_those_of_python_do(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        vldepot.open(path)
    assert isinstance(missing.value, vldepot.IoError) and missing.value.errno == errno.ENOENT
    assert missing.value.filename == str(path) and isinstance(missing.value.__cause__, OSError)
    with pytest.raises(FileNotFoundError):
        vldepot.create(tmp_path / "no" / "folder.vld")
    with pytest.raises(vldepot.Error):
        vldepot.open(tmp_path)
    depot = vldepot.create(path, "bytes")
    with pytest.raises(BlockingIOError):
        vldepot.append(path)
    depot.close()
    with pytest.raises(FileExistsError):
        vldepot.create(path)
    with pytest.raises(io.UnsupportedOperation):
        vldepot.open(path)["a"] = b""
    path.write_bytes(b"something else" * 1000)
    with pytest.raises(vldepot.NotADepot):
        vldepot.open(path)
    for wrong in (5, None, 1.5):
        with pytest.raises(TypeError):
            vldepot.open(wrong)  # type: ignore[call-overload]
    with pytest.raises(vldepot.IoError):
        vldepot.open("a\0b")


def test_a_closed_depot_says_so(molecules: Path) -> None:
    depot = vldepot.open(molecules)
    names = iter(depot)
    values = iter(depot.values())
    next(names), next(values)
    depot.close()
    depot.close()
    for use in (
        lambda: depot["m000"],
        lambda: len(depot),
        lambda: list(depot),
        lambda: list(depot.values()),
        lambda: depot.info(),
        lambda: depot.get_flat(["m000"]),
        lambda: depot.loader(),
    ):
        with pytest.raises(vldepot.Closed) as caught:
            use()
        assert isinstance(caught.value, ValueError)
    # What was read ahead is still given, then the listing ends with the error.
    with pytest.raises(vldepot.Closed):
        for _ in values:
            pass
    assert len(list(names)) < 200 or True


@pytest.mark.parametrize("preset", ["uncompressed", "balanced"])
def test_damage_is_told_with_its_facts(path: Path, preset: str) -> None:
    random = np.random.default_rng(0)
    with vldepot.create(path, "bytes", preset=preset) as depot:
        for n in range(50):
            depot[n] = random.bytes(20_000)
    location = vldepot.open(path).location(25)
    assert location.file_offset is not None
    content = bytearray(path.read_bytes())
    content[location.file_offset + 300_000] ^= 0xFF
    path.write_bytes(content)
    depot = vldepot.open(path)
    damaged = []
    for n in range(50):
        try:
            depot[n]
        except vldepot.Error as error:
            damaged.append(error)
    assert 1 <= len(damaged) <= 5
    error = damaged[0]
    assert error.is_damage and not error.is_io and error.path == str(path) and error.record is not None
    assert (
        isinstance(error, vldepot.ChecksumError)
        and error.expected != error.found
        and error.chunk == 0
        and error.offset > 0
    )
    report = vldepot.verify(path)
    assert not report.is_whole and {str(name) for name, _ in report.damaged_records} == {
        one.record for one in damaged
    }
    assert all(error.is_damage for _, error in report.damaged_records)
    repaired = vldepot.repair(path, path.with_name("repaired.vld"))
    assert repaired.records == 50 - len(damaged) and len(repaired.lost) == len(damaged)
    assert vldepot.verify(path.with_name("repaired.vld")).is_whole
    assert vldepot.verify(path, quick=True).quick


def test_a_cut_file_never_gives_wrong_bytes(molecules: Path) -> None:
    content, depot = molecules.read_bytes(), vldepot.open(molecules)
    expected = {name: bytes(depot.raw(name)) for name in depot}
    depot.close()
    for end in np.linspace(0, len(content), 40, dtype=int):
        molecules.write_bytes(content[:end])
        try:
            with vldepot.open(molecules, accept_loss=True) as cut:
                for name in cut:
                    try:
                        assert bytes(cut.raw(name)) == expected[name]
                    except vldepot.Error as error:
                        assert error.is_damage
        except vldepot.Error as error:
            assert error.is_damage or isinstance(error, vldepot.NotADepot)


def test_a_file_that_lost_a_commit_is_refused(path: Path) -> None:
    with vldepot.create(path, "bytes") as depot:
        for n in range(3):
            depot[n] = np.random.default_rng(n).bytes(50_000)
            depot.commit()
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(vldepot.Error) as caught:
        vldepot.open(path)
    assert caught.value.is_damage
    if isinstance(caught.value, vldepot.Incomplete):
        depot = vldepot.open(path, accept_loss=True)
        assert isinstance(depot.incomplete, vldepot.Incomplete) and len(depot) == caught.value.records
        with pytest.raises(LookupError) as lost:
            depot["x"]
        assert not isinstance(lost.value, KeyError)
        with pytest.raises(vldepot.LostCommit):
            depot.get("x", None)
