"""Colours of classes, and classes.yaml of one's own folder: which classes there are and what they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from PIL import ImageColor

from vdalib.config.reading import read_yaml, shown

# Found by search for the largest smallest CIELAB distance under normal vision and the three dichromacies:
# 31 among the first ten (PartWorld's classes), 17 among all twenty.
CLASS_COLOURS: dict[str, str] = {
    "aeroplane": "#a569f0", "bird": "#f00000", "boat": "#0fffd2", "bottle": "#87004b", "bus": "#ffe100",
    "car": "#5a96b4", "cat": "#3c00d2", "dog": "#b4f087", "horse": "#c37869", "person": "#691e87",
    "bicycle": "#a5001e", "chair": "#ffa5ff", "cow": "#d22d87", "dining table": "#ff8700",
    "motorbike": "#b4964b", "potted plant": "#00c396", "sheep": "#692db4", "sofa": "#b42dff",
    "train": "#6969b4", "tv monitor": "#964b4b",
}  # fmt: skip
_GRID = list(product((0, 42, 85, 127, 170, 212, 255), repeat=3))
_FURTHER_COLOURS = [f"#{bytes(_GRID[101 * n % len(_GRID)]).hex()}" for n in range(len(_GRID))]  # neighbours in it are unlike
_KNOWN = ("classes", "synonyms", "background", "colours")
_TAKEN = {"#000000": "background", "#ffffff": "void"}
_LONGEST = 100  # letters of a class name, which becomes a prompt and part of file names
_UNUSABLE = re.compile(r"^\.|[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")
MOST = 254  # label maps are bytes, 0 is background, 255 void


@dataclass(frozen=True)
class ClassesFile:
    """What classes.yaml says; all of it may be left out.

    classes:    the list of classes, in the order of the label maps; () = those that occur, sorted.
    synonyms:   class -> further words for its prompts.
    background: words for what is no class, in place of `clip.background_prompts`; () = keep those.
    colours:    class -> "#rrggbb".
    """

    classes: tuple[str, ...] = ()
    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    background: tuple[str, ...] = ()
    colours: dict[str, str] = field(default_factory=dict)

    def require_class(self, name: str, where: str) -> None:
        """ValueError for a tag that cannot be a class, or is none of those listed."""
        require_class_name(name, where)
        if self.classes and name not in self.classes:
            raise ValueError(f"{where}: unknown class {name!r} (known: {', '.join(self.classes)})")

    def require_known(self, path: Path, classes: tuple[str, ...]) -> None:
        """ValueError where a synonym or colour belongs to none of the classes, or a word or colour to two."""
        for section in ("synonyms", "colours"):
            for name in getattr(self, section):
                if name not in classes:
                    raise ValueError(f"{path}: {section}: unknown class {name!r} (known: {', '.join(classes)})")
        meanings = {word: "the background" for word in self.background}
        for name in classes:
            for word in dict.fromkeys((name, *self.synonyms.get(name, ()))):
                if word in meanings or (word in classes and word != name):
                    other = meanings.get(word, word)
                    raise ValueError(f"{path}: {word!r} is a word of {name!r} and of {other!r}; take it from one of them")
                meanings[word] = name
        taken = dict(_TAKEN)
        for name, colour in self.colours.items():
            if colour in taken:
                raise ValueError(f"{path}: colours: {name}: {colour} is that of {taken[colour]}; choose another")
            taken[colour] = name


def read_classes(path: Path) -> ClassesFile:
    """The file as it is, or an empty ClassesFile where there is none; ValueError for what is wrong in it."""
    if not path.exists():
        return ClassesFile()
    given = read_yaml(path)
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not set(given) <= set(_KNOWN):
        found = ", ".join(map(shown, given)) if isinstance(given, Mapping) else shown(given)
        raise ValueError(f"{path}: found {found}; expected some of {', '.join(_KNOWN)}")
    given = {name: value for name, value in given.items() if value is not None}
    classes = _words(given.get("classes", []), f"{path}: classes")
    for name in classes:
        require_class_name(name, f"{path}: classes")
    synonyms = {
        name: _words(words, f"{path}: synonyms: {name}")
        for name, words in _mapping(given.get("synonyms", {}), f"{path}: synonyms").items()
    }
    colours = {
        name: _colour(value, f"{path}: colours: {name}")
        for name, value in _mapping(given.get("colours", {}), f"{path}: colours").items()
    }
    return ClassesFile(classes, synonyms, _words(given.get("background", []), f"{path}: background"), colours)


def require_class_name(name: str, where: str) -> None:
    """ValueError for a name that cannot be in a file's name or a prompt, or means no class."""
    if _UNUSABLE.search(name) or not name.strip():
        raise ValueError(f"{where}: class {shown(name)}: expected a name without / and \\, without a dot in front; rename it")
    if len(name) > _LONGEST:
        raise ValueError(f"{where}: class {shown(name)} has {len(name)} letters, expected at most {_LONGEST}; shorten it")
    if name.lower() == "background":
        raise ValueError(f"{where}: class {name!r}: background is what no class covers; take it out")


def distinct_colours(classes: tuple[str, ...], chosen: Mapping[str, str]) -> dict[str, str]:
    """A colour for every class: the chosen one, else that of its name in VOC, else one that no other class has."""
    known = {name: colour for name, colour in CLASS_COLOURS.items() if colour not in chosen.values()}
    colours = {name: chosen.get(name) or known.get(name) for name in classes}
    taken = {*_TAKEN, *colours.values()}
    free = (colour for colour in (*CLASS_COLOURS.values(), *_FURTHER_COLOURS) if colour not in taken)
    return colours | {name: next(free) for name in classes if not colours[name]}


def _words(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: found {shown(value)}, expected a list such as [cat, dog]")
    for word in value:
        if not isinstance(word, str) or not word.strip() or not word.isprintable():
            raise ValueError(f"{where}: found {shown(word)}, expected a word; put it in quotes")
    words = tuple(word.strip() for word in value)
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"{where}: {shown(word)} occurs twice; take one out")
    return words


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{where}: found {shown(value)}, expected class names with their values; put names in quotes")
    return value


def _colour(value: Any, where: str) -> str:
    try:
        colour = bytes(ImageColor.getrgb(value)[:3])  # ValueError beyond 255
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f'{where}: found {shown(value)}, expected a colour such as "#3c00d2", in quotes, or red') from None
    return f"#{colour.hex()}"
