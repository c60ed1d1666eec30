"""B1 and B2: an archive as a mapping, and its paths."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

import vldepot
from vldepot import archive


def test_b1_a_mapping_of_paths_to_bytes() -> None:
    """B1: get, set, del, in, len, iter, get with a default, setdefault, keys, values and items."""
    a = archive.memory()
    assert not a and len(a) == 0 and list(a) == [] and dict(a.items()) == {}
    a["b/2"] = b"two"
    a["a"] = bytearray(b"one")
    a["b/empty"] = memoryview(b"")
    assert a and len(a) == 3 and a["b/2"] == b"two" and a["a"] == b"one" and a["b/empty"] == b""
    # Folders are no files, in all of these.
    assert "b/2" in a and "b" not in a and "c" not in a and 5 not in a
    assert list(a) == list(a.keys()) == ["b/2", "a", "b/empty"]
    assert list(a.values()) == [b"two", b"one", b""] and list(reversed(list(a.keys())))[0] == "b/empty"
    assert list(a.items()) == [("b/2", b"two"), ("a", b"one"), ("b/empty", b"")]
    assert ("a", b"one") in a.items() and ("a", b"two") not in a.items() and b"one" in a.values()
    assert len(a.keys()) == len(a.values()) == len(a.items()) == 3
    assert (
        a.get("a") == b"one"
        and a.get("c") is None
        and a.get("c", b"0") == b"0"
        and a.get("b/empty", b"0") == b""
    )
    assert (
        a.setdefault("a", b"new") == b"one" and a.setdefault("c", b"three") == b"three" and a["c"] == b"three"
    )
    assert a.pop("c") == b"three" and a.pop("c", None) is None and "c" not in a
    a.update({"d": b"4"}, e=b"5")
    del a["d"]
    assert sorted(a) == ["a", "b/2", "b/empty", "e"]
    for missing in (lambda: a["d"], lambda: a.__delitem__("d"), lambda: a.pop("d")):
        with pytest.raises(KeyError) as error:
            missing()
        assert isinstance(error.value, FileNotFoundError) and isinstance(error.value, vldepot.NotFound)
    with pytest.raises(IsADirectoryError):
        a["b"]
    with pytest.raises(IsADirectoryError):
        del a["b"]
    a.clear()
    assert len(a) == 0 and a.listdir() == []


def test_b1_nothing_is_replaced_unless_asked() -> None:
    """B1: setting an existing path fails unless asked."""
    a = archive.memory()
    a["a"] = b"first"
    with pytest.raises(FileExistsError) as error:
        a["a"] = b"second"
    assert isinstance(error.value, vldepot.Exists) and isinstance(error.value, vldepot.PathTaken)
    assert a["a"] == b"first" and len(a) == 1
    a.write("a", b"second", replace=True)
    assert a["a"] == b"second"
    a["b/c"] = b""
    with pytest.raises(IsADirectoryError):
        a["b"] = b"a folder is there"
    with pytest.raises(IsADirectoryError):
        a.write("b", b"", replace=True)
    with pytest.raises(NotADirectoryError):
        a["a/b"] = b"a file is in the way"
    free = archive.memory(overwrite=True)
    free["a"] = b"first"
    free["a"] = b"second"
    assert free["a"] == b"second"
    with pytest.raises(TypeError, match="str"):
        a["text"] = "text"
    with pytest.raises(TypeError):
        a["number"] = 5
    assert "text" not in a and "number" not in a


def test_b1_append_only_refuses_to_replace_and_to_remove(path: Path) -> None:
    """B1: an archive that is only added to refuses whatever changes what is there."""
    with archive.create(path, append_only=True) as a:
        a["a"] = b"first"
        a["b/c"] = b"x"
    with archive.append(path, append_only=True) as a:
        a["d"] = b"new"
        with a.open("e", "x") as file:
            file.write("new")
        with a.open("f", "w") as file:
            file.write("new")
        a.mkdir("folder")
        refused: list[Any] = [
            lambda: a.write("a", b"", replace=True),
            lambda: a.__delitem__("a"),
            lambda: a.remove("a"),
            lambda: a.rmdir("folder"),
            lambda: a.rmtree("b"),
            lambda: a.rename("a", "z"),
            lambda: a.pop("a"),
            lambda: a.clear(),
            lambda: a.open("a", "w"),
            lambda: a.open("a", "a"),
            lambda: a.open("a", "r+"),
            lambda: a.chmod("a", 0o600),
            lambda: a.utime("a"),
            lambda: a.chown("a", 1, 1),
            lambda: a.add(path.parent, replace=True),
        ]
        for refuse in refused:
            with pytest.raises(vldepot.AppendOnly):
                refuse()
        with pytest.raises(FileExistsError):
            a["a"] = b"second"
        assert a["a"] == b"first" and a["b/c"] == b"x" and a.isdir("folder") and a["f"] == b"new"


def test_b1_a_read_only_archive_refuses_writes(path: Path) -> None:
    """B1: an archive opened for reading refuses writes."""
    with archive.create(path) as a:
        a["a/b"] = b"first"
        a.mkdir("c")
    a = archive.open(path)
    refused: list[Any] = [
        lambda: a.__setitem__("x", b""),
        lambda: a.write("a/b", b"", replace=True),
        lambda: a.setdefault("x", b""),
        lambda: a.__delitem__("a/b"),
        lambda: a.rmdir("c"),
        lambda: a.rmtree("a"),
        lambda: a.rename("a", "z"),
        lambda: a.mkdir("d"),
        lambda: a.symlink("b", "a/c"),
        lambda: a.open("a/b", "r+"),
        lambda: a.open("x", "w"),
        lambda: a.open("x", "x"),
        lambda: a.open("a/b", "a"),
        lambda: a.chmod("a/b", 0o600),
        lambda: a.add(__file__, "x"),
    ]
    for refuse in refused:
        with pytest.raises((vldepot.ReadOnly, vldepot.NotTransferred)):
            refuse()
    assert a.setdefault("a/b", b"") == b"first" and list(a) == ["a/b"] and a.isdir("c")
    assert not a.writable


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("a/", "a"),
        ("./a//b/./c/", "a/b/c"),
        (" a /b ", " a /b "),
        ("...", "..."),
        ("a..b/..c", "a..b/..c"),
        ("ä/日本/😀", "ä/日本/😀"),
        ("a\\b", "a\\b"),
        ("a\nb\t", "a\nb\t"),
        ("*?[x]", "*?[x]"),
        ("-f", "-f"),
        (b"bytes/\xff", "bytes/\udcff"),
        ("\udcff/\udc80", "\udcff/\udc80"),
        (PurePosixPath("p/q"), "p/q"),
        ("a/" * 200 + "deep", "a/" * 200 + "deep"),
        ("long" * 5000, "long" * 5000),
    ],
)
def test_b2_paths_are_cleaned_and_come_back(given: Any, clean: str, path: Path) -> None:
    """B2: slashes, dots, spaces, Unicode, names that are not UTF-8, long and deeply nested names."""
    with archive.create(path) as a:
        a[given] = b"content"
        assert a[clean] == b"content" and given in a and clean in a
    a = archive.open(path)
    assert list(a) == list(a.files()) == [clean] and a[given] == b"content" and len(a) == 1
    folder, _, name = clean.rpartition("/")
    assert a.listdir(folder) == [name] and [entry.path for entry in a.scandir(folder)] == [clean]
    assert a.stat(given).path == clean and a.totals().files == 1
    assert [name for top in a.walk() for name in top[2]] == [name]
    with a.open(given, "rb") as file:
        assert file.read() == b"content" and file.name == clean
    assert a.get_many([given, clean]) == [b"content"] * 2 and list(a.items()) == [(clean, b"content")]


@pytest.mark.parametrize("bad", ["/a", "..", "a/../b", "a/..", "a\0b", "../a", "/", b"/a", "x" * (1 << 24)])
def test_b2_paths_that_no_archive_has_are_refused(bad: Any) -> None:
    """B2: absolute paths, `..`, NUL bytes and endless names are refused everywhere, and never taken for others."""
    a = archive.memory()
    a["a"] = b""
    calls: list[Any] = [
        lambda: a[bad],
        lambda: a.__setitem__(bad, b""),
        lambda: a.__delitem__(bad),
        lambda: bad in a,
        lambda: a.get(bad),
        lambda: a.open(bad),
        lambda: a.open(bad, "w"),
        lambda: a.listdir(bad),
        lambda: list(a.walk(bad)),
        lambda: a.mkdir(bad),
        lambda: a.rename("a", bad),
        lambda: a.stat(bad),
        lambda: a.exists(bad),
        lambda: a.get_many(["a", bad]),
        lambda: a.add(__file__, bad),
    ]
    for call in calls:
        with pytest.raises(vldepot.InvalidPath) as error:
            call()
        assert isinstance(error.value, ValueError) and error.value.why
    assert list(a) == ["a"]


def test_b2_what_is_no_path_is_a_type_error() -> None:
    a = archive.memory()
    for wrong in (None, 5, 1.5, ["a"], object()):
        with pytest.raises(TypeError):
            a[wrong]  # type: ignore[index]
    with pytest.raises(TypeError):
        a.get_many("abc")


def test_many_files_are_read_at_once_in_the_order_that_is_asked_for() -> None:
    a = archive.memory()
    a.update({f"{n:03}": bytes([n]) for n in range(100)})
    a.symlink("005", "link")
    wanted = ["099", "link", "000", "099"]
    assert a.get_many(wanted) == a.get_many(iter(wanted), threads=2) == [bytes([n]) for n in (99, 5, 0, 99)]
    assert [stat.size for stat in a.stat_many(wanted)] == [1] * 4 and a.get_many([]) == []
    with pytest.raises(FileNotFoundError):
        a.get_many(["000", "missing"])
    with pytest.raises(FileNotFoundError):
        a.stat_many(["000", "missing"])
    assert dict(a.items())["link"] == dict(a.items(threads=2))["link"] == a["link"] == b"\x05"


def test_iteration_goes_on_after_a_file_that_cannot_be_read() -> None:
    a = archive.memory()
    a["a"] = b"1"
    a.symlink("nothing", "broken")
    a["z"] = b"2"
    with pytest.raises(KeyError):
        dict(a.items())
    for files, wanted in ((iter(a.values()), [b"1", b"2"]), (iter(a.items()), [("a", b"1"), ("z", b"2")])):
        found: list[Any] = [next(files)]
        with pytest.raises(KeyError):
            next(files)
        assert found + list(files) == wanted


def test_a_depot_of_another_codec_is_no_archive(path: Path) -> None:
    with pytest.raises(TypeError, match="bytes"):
        archive.Archive(vldepot.memory("json"))
    with vldepot.create(path, "json") as depot:
        depot["a/b"] = [1]
    assert archive.open(path)["a/b"] == b"[1]"
    before = path.read_bytes()
    for write in (archive.append, archive.open_or_create):
        with pytest.raises(vldepot.WrongCodec):
            write(path)
    assert path.read_bytes() == before and vldepot.open(path)["a/b"] == [1]


def test_names_that_are_no_paths_are_errors_where_they_are_listed() -> None:
    depot = vldepot.memory("bytes")
    depot.update({"a": b"1", "b//c": b"2", 5: b"3"})
    a = archive.Archive(depot)
    assert a["a"] == b"1"
    for listing in (
        lambda: list(a),
        lambda: a.listdir("b"),
        lambda: list(a.files()),
        lambda: list(a.items()),
    ):
        with pytest.raises(vldepot.InvalidPath):
            listing()


@pytest.mark.parametrize(
    ("options", "block"),
    [
        ({}, 65_536),
        ({"preset": "fast", "compression": None}, 65_536),
        ({"chunk_size": 16_384}, 16_384),
        ({"block_size": 4096}, 4096),
        ({"preset": "uncompressed"}, None),
        ({"compression": "none"}, None),
    ],
)
def test_an_archive_has_a_layout_for_files(options: Any, block: int | None) -> None:
    a = archive.memory(**options)
    a["a"] = b"1" * 100_000
    layout = a.depot.info().layout
    assert a["a"] == b"1" * 100_000 and (layout.filter, layout.block_size) == ("none", block)


def test_an_archive_is_a_depot_and_the_other_way_round(path: Path) -> None:
    with archive.create(path, preset="compact") as a:
        a["a/b"] = b"first"
        assert a.depot["a/b"] == b"first" and a.depot.info().layout.filter == "none"
        # Counts are right after changes that were not made through the archive.
        assert len(a) == 1
        a.depot["c"] = b"second"
        assert a["c"] == b"second" and len(a) == 2 and a.num_dirs == 1
        a.depot["d/"] = b""
        assert a.listdir() == ["a", "c", "d"] and len(a) == 2 and a.num_dirs == 2
        a.depot.rename("d/", "e/")
        del a.depot["e/"]
        assert len(a) == 2 and a.num_dirs == 1
        a.depot.truncate_after("a/b")
        assert len(a) == 1 and "c" not in a
        a.depot.clear()
        assert len(a) == 0 and a.num_dirs == 0
        a["a/b"] = b"again"
        assert a.isdir("a") and a.num_dirs == 1
    assert os.path.getsize(path) > 0 and a.closed and "closed" in repr(a)
