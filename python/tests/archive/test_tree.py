"""B3 and B6: folders, patterns, totals, and orders."""

from __future__ import annotations

import glob
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vldepot
from vldepot import archive

FILES = [
    "a.txt", "b.txt", "c.py", "x.txt", "1.tmp", "a.tmp", ".hidden", ".dir/x.txt", ".dir/.y", "dir/file1.txt",
    "dir/file.py", "dir/.env", "dir/sub/nested.txt", "dir/sub/deep/very/deep.txt", "src/main.py", "src/lib/core.py",
    "[x]/y[1].txt", "data/file.tar.gz", "logs/1.log", "logs/10.log", "dir.txt/odd", "ä/ö.txt", "same/same/x",
]  # fmt: skip


def filled(names: list[str] = FILES) -> archive.Archive:
    a = archive.memory()
    for name in names:
        a[name] = name.encode()
    return a


def test_b3_listings_are_those_of_os() -> None:
    """B3: listdir, scandir, walk, isfile, isdir, exists."""
    a = filled(["a", "b/1", "b/c/2", "b/c/3", "b-c", "b.d"])
    a.mkdir("empty")
    assert a.listdir() == a.listdir("") == a.listdir(".") == ["a", "b-c", "b.d", "b", "empty"]
    assert a.listdir("b") == ["1", "c"] and a.listdir("empty") == []
    entries = {entry.name: entry for entry in a.scandir("b")}
    assert entries["c"].is_dir() and not entries["c"].is_file() and not entries["c"].is_symlink()
    assert (
        entries["1"].is_file() and not entries["1"].is_dir() and entries["1"].path == os.fspath(entries["1"])
    )
    assert entries["1"].stat().size == 3 and entries["1"].path == "b/1"
    assert list(a.walk("b")) == [("b", ["c"], ["1"]), ("b/c", [], ["2", "3"])]
    assert list(a.walk())[0] == (".", ["b", "empty"], ["a", "b-c", "b.d"])
    assert [top for top, _, _ in a.walk("b", topdown=False)] == ["b/c", "b"]
    for top, folders, _ in a.walk():
        folders[:] = [name for name in folders if name != "b"]
        assert not top.startswith("b")
    assert a.isfile("b/1") and not a.isfile("b") and not a.isfile("z")
    assert a.isdir("b") and a.isdir("") and a.isdir("empty") and not a.isdir("b/1") and not a.isdir("z")
    assert a.exists("b/1") and a.exists("b") and not a.exists("z")
    failed: list[OSError] = []
    assert list(a.walk("z", onerror=failed.append)) == list(a.walk("a")) == [] and len(failed) == 1
    assert isinstance(failed[0], FileNotFoundError)
    for list_it in (a.listdir, a.scandir, a.files, a.dirs):
        with pytest.raises(FileNotFoundError):
            list_it("z")
        with pytest.raises(NotADirectoryError):
            list_it("a")
    assert list(a.files("b")) == ["b/1", "b/c/2", "b/c/3"] and list(a.dirs()) == ["b", "b/c", "empty"]


def test_b3_folders_are_made_removed_and_renamed() -> None:
    """B3: mkdir, rmdir (of a full one fails), rmtree, rename of files and trees."""
    a = filled(["a", "b/1", "b/c/2"])
    a.mkdir("d/e/f", 0o700)
    assert a.isdir("d/e") and a.stat("d/e/f").mode == 0o700
    a.makedirs("d/e", exist_ok=True)
    for taken in ("d/e", "a"):
        with pytest.raises(FileExistsError):
            a.mkdir(taken)
    with pytest.raises(FileExistsError):
        a.mkdir("a", exist_ok=True)
    with pytest.raises(NotADirectoryError):
        a.mkdir("a/b")
    with pytest.raises(OSError) as full:
        a.rmdir("b")
    assert isinstance(full.value, vldepot.NotEmpty) and full.value.records == 3
    with pytest.raises(FileNotFoundError):
        a.rmdir("z")
    with pytest.raises(NotADirectoryError):
        a.rmdir("a")
    a.rmdir("d/e/f")
    assert a.isdir("d/e") and not a.exists("d/e/f")
    a.rename("a", "x/y")
    assert a["x/y"] == b"a" and not a.exists("a")
    a.rename("b", "x/b")
    assert sorted(a) == ["x/b/1", "x/b/c/2", "x/y"] and a["x/b/c/2"] == b"b/c/2" and not a.exists("b")
    with pytest.raises(FileNotFoundError):
        a.rename("z", "w")
    for taken in ("x/b", "x/y"):
        with pytest.raises(FileExistsError):
            a.rename("d", taken)
    with pytest.raises(vldepot.InvalidPath):
        a.rename("x", "x/b/x")
    assert a.rmtree("x/b") == 4 and list(a) == ["x/y"]
    with pytest.raises(FileNotFoundError):
        a.rmtree("x/b")
    with pytest.raises(NotADirectoryError):
        a.rmtree("x/y")
    # What was removed last leaves its folder.
    a.remove("x/y")
    assert a.isdir("x") and len(a) == 0


def model_totals(model: dict[str, bytes | None], top: str) -> tuple[int, int, int]:
    below = {path: data for path, data in model.items() if not top or path.startswith(f"{top}/")}
    files = [data for data in below.values() if data is not None]
    return len(files), len(below) - len(files), sum(map(len, files))


@pytest.mark.parametrize("seed", range(4))
def test_b3_totals_are_right_after_any_mix_of_operations(seed: int, path: Path) -> None:
    """B3: totals of subtrees after any mix of operations, compared with a model, and after reopening."""
    choose = random.Random(seed)
    model: dict[str, bytes | None] = {}  # None for a folder

    def some_path() -> str:
        return "/".join(choose.choice("abc") for _ in range(choose.randint(1, 4)))

    def parents(of: str) -> list[str]:
        names = of.split("/")
        return ["/".join(names[:n]) for n in range(1, len(names))]

    a = archive.create(path)
    for step in range(600):
        what, at, to = choose.choice("wwwwmdrtn"), some_path(), some_path()
        in_the_way = any(model.get(parent, None) is not None for parent in parents(at))
        try:
            if what == "w":
                data = bytes(choose.randint(0, 20))
                a.write(at, data, replace=True)
                assert model.get(at, b"") is not None and not in_the_way
                model[at] = data
                model.update(dict.fromkeys(parents(at)))
            elif what == "m":
                a.mkdir(at)
                assert at not in model and not in_the_way
                model.update(dict.fromkeys([*parents(at), at]))
            elif what == "d":
                a.remove(at)
                assert model.pop(at) is not None
            elif what == "r":
                a.rmdir(at)
                assert model.pop(at, b"") is None and model_totals(model, at)[:2] == (0, 0)
            elif what == "t":
                if choose.random() < 0.7:
                    continue
                removed = a.rmtree(at)
                assert model[at] is None
                gone = [name for name in model if name == at or name.startswith(f"{at}/")]
                assert removed == len(gone)
                for name in gone:
                    del model[name]
            else:
                a.rename(at, to)
                assert at in model and to not in model and not to.startswith(f"{at}/")
                moved = {
                    name: model.pop(name) for name in list(model) if name == at or name.startswith(f"{at}/")
                }
                model.update(dict.fromkeys(parents(to)))
                model.update({to + name[len(at) :]: data for name, data in moved.items()})
        except (OSError, vldepot.InvalidPath):
            pass
        if step % 20 == 0:
            for top in ["", *model]:
                if model.get(top, None) is None:
                    count = a.totals(top)
                    assert (count.files, count.folders, count.bytes) == model_totals(model, top), (step, top)
            assert len(a) == model_totals(model, "")[0]
    assert sum(data is not None for data in model.values()) > 3
    a.close()
    b = archive.open(path)
    assert dict(b.items()) == {name: data for name, data in model.items() if data is not None}
    assert sorted(b.dirs()) == sorted(name for name, data in model.items() if data is None)
    count = b.totals()
    assert (count.files, count.folders, count.bytes) == model_totals(model, "")
    assert (b.num_files, b.num_dirs, b.total_size) == (count.files, count.folders, count.bytes)
    with pytest.raises(FileNotFoundError):
        b.totals("zzz")


def on_disk(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def same_as_glob(a: archive.Archive, folder: Path, pattern: str, recursive: bool, hidden: bool) -> None:
    expected = glob.glob(pattern, root_dir=folder, recursive=recursive, include_hidden=hidden)
    found = a.glob(pattern, recursive, hidden)
    # `glob` gives some paths several times.
    assert sorted(found) == sorted(set(expected)), (pattern, recursive, hidden)
    files = [path for path in expected if not (folder / path).is_dir()]
    assert sorted(a.globfiles(pattern, recursive, hidden)) == sorted(set(files)), pattern


def test_b3_glob_finds_what_the_module_glob_finds(tmp_path: Path) -> None:
    """B3: glob and iglob with `**`, compared with the files of a disk, for patterns of all kinds."""
    on_disk(tmp_path, FILES)
    a = filled()
    patterns = [
        "*", "*.txt", "?.txt", "[abc].txt", "[!a].tmp", "[a-c].*", "dir/*", "*/*", "*/*.py", ".*", "dir/.*", "**",
        "**/*", "**/*.txt", "dir/**", "dir/**/*.txt", "**/deep.txt", "**/same", "**/same/**", "**/**", "**/", "*/",
        "dir", "dir/", "a.txt", "a.txt/", "a.txt/*", "missing", "missing/*", "[[]x]/*", "**/y[[]1].txt", "*.tar.gz",
        "d*/s*/d*/**", "ä/*", "**/ö*", "./dir/*", ".dir/**", "**/.dir/*", "dir.txt/*", "a**b", "**.txt", "[", "same/**/same",
    ]  # fmt: skip
    for pattern in patterns:
        # `glob` keeps a dot at the start and slashes that say nothing; an archive has clean paths.
        for recursive in (False, True):
            for hidden in (False, True):
                if not pattern.startswith("./"):
                    same_as_glob(a, tmp_path, pattern, recursive, hidden)
    assert sorted(a.glob("./dir//*")) == sorted(a.glob("dir/*")) and a.glob("") == []
    assert list(a.iglob("*.py")) == list(a.iglobfiles("*.py")) == ["c.py"]
    choose = random.Random(7)
    names = ["*", "**", "a*", "?", ".*", "dir", "s*", "*.txt", "[a-m]*", "same", "sub"]
    for _ in range(300):
        pattern = "/".join(choose.choice(names) for _ in range(choose.randint(1, 4)))
        same_as_glob(a, tmp_path, pattern, choose.random() < 0.7, choose.random() < 0.5)
    # Folders without records of their own are found too.
    depot = vldepot.memory("bytes")
    depot.update(dict.fromkeys(FILES, b""))
    a = archive.Archive(depot)
    for pattern in [*patterns, "**/sub", "**/d*", "**/s*", "dir/**/d*", "dir/**/sub", "**/.dir"]:
        for recursive, hidden in ((True, False), (True, True), (False, False)):
            if not pattern.startswith("./"):
                same_as_glob(a, tmp_path, pattern, recursive, hidden)
    for bad in ("/a*", "../*", "a/../*", "a\0*"):
        with pytest.raises(vldepot.InvalidPath):
            a.glob(bad)


def test_b3_very_deep_folders_are_walked(path: Path) -> None:
    a = archive.memory()
    deep = "/".join(["d"] * 2000)
    a[f"{deep}/file"] = b"x"
    assert sum(len(files) for _, _, files in a.walk()) == 1 and len(list(a.dirs())) == 2000
    assert a.glob("**/file", recursive=True) == [f"{deep}/file"] and a.totals().folders == 2000
    assert a.rmtree("d") == 2001


def test_b3_folders_without_records_are_folders() -> None:
    depot = vldepot.memory("bytes")
    depot.update({f"a/b/{n}": b".." for n in range(50)})
    a = archive.Archive(depot)
    assert (
        a.listdir() == ["a"]
        and a.isdir("a/b")
        and a.stat("a").kind == "folder"
        and list(a.dirs()) == ["a", "a/b"]
    )
    count = a.totals("a")
    assert (count.files, count.folders, count.bytes) == (50, 0, 100) and len(a) == 50
    a.chmod("a", 0o700)
    assert a.stat("a").mode == 0o700 and a.totals().folders == 1 and len(a) == 50


def test_b6_orders(path: Path) -> None:
    """B6: by name, by place, random with a seed, and the other way round; many looked up at once."""
    names = [f"{n % 7}/{n * 37 % 100:03}" for n in range(100)]
    with archive.create(path) as a:
        for name in names:
            a[name] = name.encode()
    a = archive.open(path)
    by_name = sorted(names)
    assert list(a.files()) == list(a.files(order="name")) == by_name
    assert list(a.files(reverse=True)) == by_name[::-1]
    assert list(a.files(order="place")) == names and list(a.files(order="place", reverse=True)) == names[::-1]
    shuffled = list(a.files(order="random", seed=3))
    assert sorted(shuffled) == by_name and shuffled not in (by_name, names)
    assert shuffled == list(a.files(order="random", seed=3)) != list(a.files(order="random", seed=4))
    assert sorted(a.files(order="random")) == by_name
    in_3 = [name for name in names if name.startswith("3/")]
    assert list(a.files("3", order="place")) == in_3 and a.listdir("3", order="place") == [
        name[2:] for name in in_3
    ]
    assert a.listdir("3", reverse=True) == sorted((name[2:] for name in in_3), reverse=True)
    assert sorted(a.listdir("3", order="random", seed=1)) == a.listdir("3")
    assert [entry.path for entry in a.scandir("3", order="place")] == in_3
    assert list(a.dirs(reverse=True)) == list("6543210") and len(a.listdir(order="place")) == 7
    assert all(entry.is_dir() for entry in a.scandir(reverse=True))
    assert a.get_many(shuffled) == [name.encode() for name in shuffled]
    assert [stat.path for stat in a.stat_many(shuffled)] == shuffled
    for wrong in ({"order": "size"}, {"seed": 3}, {"order": "place", "seed": 3}):
        with pytest.raises(ValueError):
            list(a.files(**wrong))


def test_what_is_known_of_a_path() -> None:
    a = archive.memory()
    a.write("a", b"123", mode=0o4755, mtime_ns=-1, uid=5, gid=6)
    stat = a.stat("a")
    assert (stat.size, stat.mode, stat.mtime_ns, stat.uid, stat.gid) == (3, 0o4755, -1, 5, 6)
    assert (stat.st_size, stat.st_mode, stat.st_uid, stat.st_gid, stat.st_nlink) == (3, 0o104755, 5, 6, 1)
    assert stat.isfile() and not stat.isdir() and not stat.islink() and stat.st_mtime == -1e-9
    a.chmod("a", 0o600)
    a.utime("a", 1_234_567_890_123_456_789)
    a.chown("a", -1, 7)
    stat = a.stat("a")
    assert (stat.mode, stat.mtime_ns, stat.uid, stat.gid) == (0o600, 1_234_567_890_123_456_789, 5, 7)
    assert a["a"] == b"123"
    a["b"] = b""
    assert a.stat("b").mode == 0o644 and a.stat("b").uid is None and a.stat("b").st_mtime > 1.7e9
    for call in (lambda: a.stat("z"), lambda: a.chmod("z", 0), lambda: a.utime("z"), lambda: a.readlink("z")):
        with pytest.raises(FileNotFoundError):
            call()


def test_links_lead_inside_the_archive_only() -> None:
    a = archive.memory()
    a["d/file"] = b"content"
    a.symlink("d/file", "link")
    a.symlink("../d/file", "e/link")
    a.symlink("d", "folder")
    a.symlink("missing", "broken")
    a.symlink("../outside", "out")
    a.symlink("/etc/passwd", "absolute")
    a.symlink("loop", "loop")
    assert (
        a["link"] == a["e/link"] == b"content"
        and a.islink("link")
        and not a.islink("d/file")
        and not a.islink("d")
    )
    assert (
        a.readlink("e/link") == "../d/file"
        and a.lstat("link").kind == "link"
        and a.stat("link").path == "d/file"
    )
    assert a.stat("folder").kind == "folder" and a.exists("broken")
    entry = {entry.name: entry for entry in a.scandir()}
    assert (
        entry["link"].is_file()
        and entry["link"].is_symlink()
        and not entry["link"].is_file(follow_symlinks=False)
    )
    assert entry["folder"].is_dir() and not entry["folder"].is_file() and not entry["broken"].is_file()
    with a.open("e/link", "a") as file:
        file.write("!")
    assert a["d/file"] == b"content!" and a.islink("e/link")
    errors: list[tuple[Callable[[], Any], type[Exception]]] = [
        (lambda: a["folder"], IsADirectoryError),
        (lambda: a["broken"], FileNotFoundError),
        (lambda: a.open("broken", "w"), FileNotFoundError),
        (lambda: a["out"], vldepot.InvalidPath),
        (lambda: a["absolute"], vldepot.InvalidPath),
        (lambda: a["loop"], vldepot.InvalidPath),
        (lambda: a.readlink("d/file"), vldepot.InvalidPath),
        (lambda: a.symlink("x", "link"), FileExistsError),
    ]
    for call, expected in errors:
        with pytest.raises(expected):
            call()
    # A link is a file of its own for what removes and replaces.
    a.write("link", b"mine", replace=True)
    assert a["link"] == b"mine" and a["d/file"] == b"content!" and not a.islink("link")
    a.remove("e/link")
    assert a["d/file"] == b"content!"
