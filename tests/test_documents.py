"""What people read: pictures, README, docs."""

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "pictures.py").exists(), reason="not a source checkout")


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
