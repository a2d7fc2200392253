"""What every setting means: read from the comments beside the dataclass fields, so that it is written down once."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any

from vdalib.config.schema import Section, plain

_TAG = re.compile(r"\[[ANPR]\]")


@dataclass(frozen=True)
class Setting:
    """One setting of a configuration.

    name: dotted. value, default: as YAML has them. meaning: one line.
    source: trust tags of the setting, or else of its section: [A] the paper's appendix, [N] the main paper, [P] published
        code, [R] ours; empty where it says nothing about the method.
    """

    name: str
    value: Any
    default: Any
    meaning: str
    source: str


def described(section: Section, prefix: str = "") -> Iterator[Setting]:
    """Every setting of a section, such as a Config, and of those nested in it, in the order of the source."""
    comments, shared = field_comments(type(section)), _tags(inspect.getdoc(type(section)) or "")
    for item in fields(section):
        value = getattr(section, item.name)
        if isinstance(value, Section):
            yield from described(value, f"{prefix}{item.name}.")
            continue
        default = item.default if item.default is not MISSING else item.default_factory()
        meaning = comments.get(item.name, "")
        yield Setting(prefix + item.name, plain(value), plain(default), meaning, _tags(meaning) or shared)


def field_comments(section: type) -> dict[str, str]:
    """{field: the comment on its line, after any whole lines of comment right above it}, inherited fields included."""
    lineage = [kind for kind in reversed(section.__mro__) if issubclass(kind, Section)]
    return {name: comment for kind in lineage for name, comment in _own_comments(kind).items()}


@cache
def _own_comments(section: type) -> dict[str, str]:
    source = inspect.cleandoc("\n" + inspect.getsource(section))
    beside, above = {}, {}  # line number -> text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = token.line.lstrip().startswith("#")
            (above if alone else beside)[token.start[0]] = token.string.lstrip("# ")
    found = {}
    for node in ast.parse(source).body[0].body:
        if isinstance(node, ast.AnnAssign):
            first = node.lineno
            while first - 1 in above:
                first -= 1
            lines = [*(above[line] for line in range(first, node.lineno)), beside.get(node.end_lineno, "")]
            found[node.target.id] = " ".join(lines).strip()
    return found


def _tags(text: str) -> str:
    return " ".join(dict.fromkeys(_TAG.findall(text)))
