"""The examples in the documentation run."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import examples

MODULES = [
    "vldepot",
    "vldepot._open",
    "vldepot._maintain",
    "vldepot.errors",
    "vldepot.dirdb",
    "vldepot.mio",
    "vldepot.vlstore",
    "vldepot.archive",
    "vldepot.archive._archive",
    "vldepot.archive._decoded",
]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module: str) -> None:
    loaded: Any = importlib.import_module(module)
    found = examples(loaded)
    assert found
    for test in found:
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        assert runner.run(test).failed == 0, test.name


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "tutorial" / "python.md"
    # The end of a block of code ends its last example.
    text = page.read_text().replace("```", "")
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert len(test.examples) > 30
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0


@pytest.mark.parametrize("name", ["pack-a-folder-of-files.md", "train-on-images.md"])
def test_the_pages_on_archives_run(name: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / name
    test = doctest.DocTestParser().get_doctest(page.read_text(), {}, page.name, str(page), 0)
    assert len(test.examples) > 10
    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_page_on_queries_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "how-to" / "find-records.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    exec(compile("\n".join(blocks), page.name, "exec"), {})


def test_everything_public_is_documented() -> None:
    import vldepot

    for name in vldepot.__all__:
        value = getattr(vldepot, name)
        if name == "__version__":
            continue
        assert value.__doc__, name
        for member, attribute in (
            vars(value).items() if isinstance(value, type) and value.__module__ == "vldepot" else []
        ):
            if not member.startswith("_") and not isinstance(attribute, (str, int)):
                assert attribute.__doc__, f"{name}.{member}"
