"""YAML as people write it: what is wrong in it is said in one line that names file and line."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_RUN = "{run}"
_CURE = "put text with any of : # { [ or a sign in front in quotes"


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file, None where it is empty; raises what `parse_yaml` raises, OSError of the system."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path}: a folder, expected a file of YAML")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Plain values of a YAML text; ValueError naming `where` and the line for a wrong one or a key that is there twice."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if "\n" in text.strip() and mark else ""
        raise ValueError(f"{where}{line}: not valid YAML: {one_line(error.problem or error.context)}; {_CURE}") from None
    except RecursionError:
        raise ValueError(f"{where}: not valid YAML: brackets in brackets without end; {_CURE}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not valid YAML: {one_line(error)}; save it as plain UTF-8 text") from None


def shown(value: Any) -> str:
    """A value for an error's text: `repr`, cut where it is long."""
    return _short.repr(value)


def one_line(error: Any) -> str:
    """The text of an error in one line."""
    return " ".join(str(error).split())


def as_list(lines: Sequence[str]) -> str:
    """A single line as it is, several below each other."""
    return lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)


def with_relative(values: Mapping[str, Any], names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Nested settings where the absolute paths of these names that lie in `folder` begin with {run} instead."""

    def change(text: str) -> str:
        path = Path(text)
        inside = path.is_absolute() and path.is_relative_to(folder)
        return "/".join((_RUN, *path.relative_to(folder).parts)) if inside else text

    return _changed(values, names, change)


def with_absolute(values: Mapping[str, Any], names: Sequence[str], folder: Path) -> dict[str, Any]:
    """The inverse of `with_relative`, for the folder where the file lies now."""
    return _changed(values, names, lambda text: f"{folder}{text[len(_RUN) :]}" if text.startswith(_RUN) else text)


def _changed(values: Mapping[str, Any], names: Sequence[str], change: Callable[[str], str]) -> dict[str, Any]:
    changed = dict(values)
    for dotted in names:
        section, _, name = dotted.partition(".")
        inside = changed.get(section)
        if isinstance(inside, dict) and isinstance(inside.get(name), str):
            changed[section] = inside | {name: change(inside[name])}
    return changed


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor):
        node, known = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in known:
                    raise yaml.constructor.ConstructorError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
                known.add(key.value)
        return node

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # such as 2024-13-45
            problem = f"{shown(node.value)} ({type(error).__name__}: {one_line(error)})"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark) from None


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 100
_short.maxlevel, _short.maxlist, _short.maxdict = 3, 10, 10
