"""The pages that are made from code and figures say what these say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from pipeline import heads, losses


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("script", "page", "command"),
    [
        ("docs/generate.py", "docs/losses.md", "make docs"),
        ("docs/configuration.py", "docs/configuration.md", "make docs"),
        ("benchmarks/mnist_page.py", "docs/mnist.md", "python benchmarks/mnist_page.py"),
    ],
)
def test_a_page_is_what_the_code_makes(root: Path, script: str, page: str, command: str) -> None:
    """A change of the catalogue, the figures or a template without its page fails here."""
    made = _script(root / script).page()
    assert (root / page).read_text(encoding="utf-8") == made, f"{page} is stale: run {command}"


def test_every_method_and_head_stands_in_the_catalogue(root: Path) -> None:
    """Each has a row in the table, and each loss of its own a panel in the picture."""
    page = (root / "docs" / "losses.md").read_text(encoding="utf-8")
    for name in (*losses.NAMES, *heads.NAMES):
        assert f"| `{name}`" in page, name
    picture = (root / "docs" / "losses.svg").read_text(encoding="utf-8")
    for method in losses.METHODS:
        if not method.head and method.name not in ("mce", "oll"):  # which look like brier and cdw_ce
            assert f">{method.name}<" in picture, method.name


def test_the_readme_counts_methods_and_heads(root: Path) -> None:
    """The README names as many as there are."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert f"There are {len(losses.NAMES)} methods and {len(heads.NAMES)} heads" in readme


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs"])
def test_links_lead_to_files_that_are_there(root: Path, page: str) -> None:
    """Every relative link of a page has its file."""
    place = root / page
    for text in place.glob("*.md") if place.is_dir() else [place]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text.read_text(encoding="utf-8")):
            assert (text.parent / target).exists(), f"{text.name} links to {target}"
