"""The book: `make book` builds notebooks, docs and API reference into build/book, from the project's root as source."""

import re
from pathlib import Path

import vdalib

project = "VDA workbook"
author = "The VDA workbook authors"
copyright = "2026, The VDA workbook authors"  # noqa: A001
version = release = vdalib.__version__

extensions = ["myst_nb", "sphinx-mathjax-offline", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "docs/index"
include_patterns = ["docs/*.md", "docs/api/*.md", "notebooks/*.ipynb", "RESULTS.md", "data/partworld/MODEL_CARD.md"]
exclude_patterns = [".*", "build", "runs"]
html_extra_path = ["site"]  # index.html, which leads to docs/index.html

nb_execution_mode = "off"
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]  # a page has no kernel
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
math_numfig = False

autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"VDA workbook {version}"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072b2", "color-brand-content": "#0072b2"},
    "dark_css_variables": {"color-brand-primary": "#6cb8ea", "color-brand-content": "#6cb8ea"},
}
html_static_path = ["_static"]
html_css_files = ["book.css"]


def write_reference():
    """docs/api/: a page for each room of the package, with its modules; what a room holds is said in vdalib's docstring."""
    package, pages = Path(vdalib.__file__).parent, Path(__file__).parent / "api"
    pages.mkdir(exist_ok=True)
    rooms = dict(re.findall(r"^    (\w+) {2,}(.+)$", vdalib.__doc__, re.MULTILINE)) | {"pretraining": "PartWorld's small CLIP"}
    for room, holds in rooms.items():
        files = sorted((package / room).rglob("*.py")) or [package / f"{room}.py"]
        modules = (".".join(("vdalib", *file.relative_to(package).with_suffix("").parts)) for file in files)
        names = [module.removesuffix(".__init__") for module in modules]
        blocks = (f"## {name.removeprefix('vdalib.')}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```" for name in names)
        (pages / f"{room}.md").write_text("\n\n".join([f"# {room}", f"*{holds}*", *blocks]) + "\n", encoding="utf-8")
    order = "\n".join(rooms)
    about = "A street of rooms, each importing only those below it; made from the docstrings."
    index = f"# API reference\n\n{about}\n\n```{{toctree}}\n:maxdepth: 1\n\n{order}\n```\n"
    (pages / "index.md").write_text(index, encoding="utf-8")


write_reference()

SECTION = re.compile(r"\s*(Args|Returns|Raises):$")
ENTRY = re.compile(r"[\w, ]+:\s")


def plain(app, what, name, obj, options, lines):
    """Docstrings are plain text: hanging lines are joined, lists of names become lists, and only `code` is markup."""
    blocks, section = [[""]], False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        section = (section and (not line.strip() or indent > 0)) or bool(SECTION.match(line))
        if section or not line.strip() or not blocks[-1][0].strip() or SECTION.match(blocks[-1][0]):
            blocks.append([line])
        elif blocks[-1][0][0].isspace() or blocks[-1][0].startswith(">>>"):
            blocks[-1].append(line)
        elif indent > 4 * blocks[-1][0].startswith("References:"):
            blocks[-1][-1] += f" {line.strip()}"  # hangs below the line before it
        else:
            blocks[-1].append(line.strip())
    lines[:] = [line for block in blocks for line in _marked(block)]


def _marked(block):
    """The lines of a paragraph as reStructuredText."""
    first, *rest = block
    if first.startswith(">>>"):
        return block
    if first[:1].isspace() and rest:
        return ["::", "", *block]
    if first == "References:":
        return [first, "", *(f"* {_escaped(line)}" for line in rest)]
    mark = "* " if rest and all(map(ENTRY.match, block)) else ""
    return [mark + _escaped(line) for line in block]


def _escaped(line):
    pieces = re.split(r"`([^`]*)`", line)
    pieces[::2] = [re.sub(r"([|*\\`])|(?<=\w)(_)(?=\W|$)", r"\\\1\2", piece) for piece in pieces[::2]]
    pieces[1::2] = [f"``{piece}``\\ " for piece in pieces[1::2]]
    return "".join(pieces)


def setup(app):
    app.connect("autodoc-process-docstring", plain, priority=100)  # before napoleon
