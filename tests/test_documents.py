"""What people read: pictures, README, results, docs, and what the notebooks' Markdown says and links to."""

import importlib
import importlib.util
import json
import pydoc
import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from small_runs import QUICK

from vdalib import __version__
from vdalib.commands.notebooks import execute
from vdalib.config import Config

ROOT = Path(__file__).parents[1]
DOCS, NOTEBOOKS = ROOT / "docs", sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", ROOT / "RESULTS.md", *sorted(DOCS.glob("*.md")), *NOTEBOOKS]
LINK = re.compile(r"\]\(([^)\s]+)\)")
ROLE = re.compile(r"\{py:(?:func|class|meth)\}`~?([\w.]+)`")
pytestmark = pytest.mark.skipif(not (DOCS / "pictures.py").exists(), reason="not a source checkout")
every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def text_of(path):
    """The Markdown of a page or notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    return text


def module(path):
    """A file of code that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_committed_pictures_are_what_their_code_draws():
    pictures = module(DOCS / "pictures.py").PICTURES
    assert {path.stem for path in DOCS.glob("*.svg")} == set(pictures)
    for name, draw in pictures.items():
        drawn = draw().svg()
        assert (DOCS / f"{name}.svg").read_text(encoding="utf-8") == drawn, "run `python docs/pictures.py`"
        assert ElementTree.fromstring(drawn).find("{*}desc").text, "whoever cannot see it can read it"


@every_page
def test_links_lead_somewhere(path):
    for target in LINK.findall(text_of(path)):
        if not re.match(r"[a-z]+:|#", target):
            assert (path.parent / unquote(target.partition("#")[0])).exists(), f"{path.name}: {target}"


@every_page
def test_code_that_is_named_is_there(path):
    for name in ROLE.findall(text_of(path)):
        assert pydoc.locate(name), name


@every_page
def test_equations_that_are_named_have_labels(path):
    labels = set(re.findall(r"^\$\$ \(([\w-]+)\)$", (DOCS / "equations.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert len(labels) > 10 and set(re.findall(r"\{eq\}`([\w-]+)`", text_of(path))) <= labels


def test_readme_is_short_and_says_its_limits_first():
    text = text_of(ROOT / "README.md")
    assert len(re.findall(r"[^\W\d_][\w'’-]*", text)) <= 900
    assert text.index("Nobody has run this code on the full VOC or COCO yet") < text.index("make run")


def test_readme_example_runs(tmp_path, monkeypatch, random_clip):
    (code,) = re.findall(r"```python\n(.*?)```", text_of(ROOT / "README.md"), re.DOTALL)
    assert len(code.splitlines()) <= 15
    small = Config.from_preset("partworld-smoke", QUICK)
    monkeypatch.setattr(Config, "from_preset", lambda name, changes: small)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)  # noqa: S102 our own README
    assert names["mask"].shape == names["image"].shape[1:]


@pytest.mark.parametrize("lost", ["<!-- end -->", "<!-- table headroom -->"])
def test_a_page_with_half_a_table_is_refused_and_no_prose_is_lost(lost, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    with pytest.raises(ValueError, match="expected `<!-- end -->` after every `<!-- table NAME -->`"):
        importlib.import_module("tables").filled(text_of(ROOT / "RESULTS.md").replace(lost, "", 1))


@pytest.mark.parametrize("name", ["README.md", "RESULTS.md"])
def test_tables_are_those_of_the_measurements(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    text = text_of(ROOT / name)
    assert "<!-- table" in text and importlib.import_module("tables").filled(text) == text, "run `python benchmarks/tables.py`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_explains_its_marks_and_ends_with_references(path):
    text = text_of(path)
    assert "../docs/trust.md" in text.partition("\n## ")[0]
    last = text.rpartition("\n## ")[2]
    assert last.startswith("Links and references") and "arxiv.org/abs/" in last


def test_links_of_an_executed_notebook_lead_where_they_did(tmp_path):
    source = tmp_path / "a" / "source.ipynb"
    source.parent.mkdir()
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "![](../docs/method.svg)"}]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    source.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    executed = tmp_path / "some where" / "executed.ipynb"
    executed.parent.mkdir()
    execute(source, executed, {}, cwd=tmp_path)
    (target,) = LINK.findall(text_of(executed))
    assert (executed.parent / unquote(target)).resolve() == DOCS / "method.svg"


def test_whoever_cites_cites_this_version():
    for name in ("CITATION.cff", "docs/references.bib"):
        assert __version__ in text_of(ROOT / name), name
    bibliography = text_of(DOCS / "references.bib")
    named = set(re.findall(r"arxiv\.org/abs/([\d.]+)", text_of(DOCS / "references.md")))
    assert named == set(re.findall(r"eprint\s*= \{([\d.]+)\}", bibliography))
