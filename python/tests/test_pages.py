"""No code of Python in the documents is untested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# Which test runs the code of a page. Those under `torch`, `ase`, `openmm`, `mdanalysis` and `move` need programs of
# their own, and have steps of their own in CI.
RUN_BY = {
    "README.md": "test_pages.py",
    "python/README.md": "test_pages.py",
    "docs/tutorial/python.md": "test_examples.py",
    "docs/how-to/find-records.md": "test_examples.py",
    "docs/how-to/move-from-atompack.md": "move/test_move_pages.py",
    "docs/how-to/move-from-dirdb.md": "objects/test_dirdb.py",
    "docs/how-to/move-from-hdf5.md": "move/test_move_pages.py",
    "docs/how-to/move-from-lmdb.md": "move/test_move_pages.py",
    "docs/how-to/move-from-mio.md": "collections/test_mio.py",
    "docs/how-to/move-from-mapbuffer.md": "maps/test_mapbuffer.py",
    "docs/how-to/move-from-vlstore.md": "vlstore/test_vlstore.py",
    "docs/how-to/move-from-xtc.md": "move/test_move_pages.py",
    "docs/how-to/pack-a-folder-of-files.md": "test_examples.py",
    "docs/how-to/train-on-images.md": "test_examples.py",
    "docs/how-to/store-openmm-trajectories.md": "openmm/test_openmm.py",
}
# These are sketches around data and models of the reader. Their code is compiled, and not run.
COMPILED = {
    "docs/how-to/train-with-pytorch.md",
    "docs/how-to/use-ase.md",
    "docs/how-to/use-mdanalysis.md",
}
PAGES = [ROOT / "README.md", ROOT / "python" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str = "python") -> list[str]:
    """The blocks of code in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_every_page_with_python_has_its_test() -> None:
    found = {
        page.relative_to(ROOT).as_posix() for page in PAGES if blocks(page) or page == ROOT / "README.md"
    }
    assert found <= set(RUN_BY) | COMPILED, "a page has code that no test runs"
    for page, test in RUN_BY.items():
        name = Path(page).stem
        text = (ROOT / "python" / "tests" / test).read_text()
        assert name in text or name.removeprefix("move-from-") in text, f"{test} does not run {page}"


def test_all_python_compiles() -> None:
    for page in PAGES:
        for block in blocks(page):
            if ">>>" not in block:
                compile(block, page.name, "exec")


def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    """README.md"""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("\n## Python\n") :]
    command = re.search(
        r"^```sh\npip install \./python .*\n(python -c .*)\n```$", section, flags=re.MULTILINE
    )
    assert command is not None
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        command[1], shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[[0.  0.1 0.2]] <vldepot.Depot first.vld: 1 record of ")


def test_the_readme_of_the_package_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """python/README.md"""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(ROOT / "python" / "README.md"):
        exec(compile(block, "README.md", "exec"), names)
    assert capsys.readouterr().out == "[[0.  0.1 0.2]\n [1.  1.1 1.2]]\n"
