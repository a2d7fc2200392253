"""The house: each room imports only those below it, and nobody needs the room where PartWorld's CLIP is made but its command."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vdalib"
STREET = (  # from the top down
    "commands",
    "explore",
    "evaluation",
    "inference",
    "methods",
    "training",
    "segmentation",
    "attributes",
    "clip",
    "data",
    "config",
    "io",
    "progress",
)
BELOW = {room: {room, *STREET[place + 1 :]} for place, room in enumerate(STREET)}
BELOW["pretraining"] = {"pretraining", *STREET[1:]}
BELOW["commands"].add("pretraining")


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Modules that a file of the package imports, in full, wherever in the file."""
    package = ("vdalib", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *([node.module] if node.module else [])))
            yield from (f"{base}.{alias.name}" for alias in node.names)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if room(path) not in ("__init__", "__main__"))


def test_every_file_is_in_a_room_that_the_architecture_knows():
    assert {room(path) for path in FILES} == BELOW.keys()


@pytest.mark.parametrize("name", BELOW)
def test_a_room_imports_only_those_below_it(name):
    upward = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in FILES
        if room(path) == name
        for module in imports(path)
        if module.startswith("vdalib.") and module.split(".")[1] not in BELOW[name] | {"__version__", "__file__"}
    ]
    assert not upward


def test_files_of_a_room_import_each_other_in_one_direction():
    graph = {}
    known = {
        ".".join(("vdalib", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path for path in FILES
    }
    for name, path in known.items():
        wanted = {
            next((known_name for known_name in (module, module.rpartition(".")[0]) if known_name in known), None)
            for module in imports(path)
        }
        graph[name] = {other for other in wanted if other and other != name and not name.startswith(f"{other}.")}
        if path.name == "__init__.py":
            graph[name] = {other for other in graph[name] if other.startswith(f"{name}.")}
    while graph:
        free = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert free, f"a circle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in free}


def test_rooms_say_what_is_in_them():
    for path in [PACKAGE / "__init__.py", *PACKAGE.glob("*/__init__.py")]:
        assert (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").strip(), path
