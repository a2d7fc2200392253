"""Colours of classes, and classes.yaml of one's own folder: which classes there are and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from PIL import ImageColor

# Found by search for the largest smallest CIELAB distance under normal vision and the three dichromacies:
# 31 among the first ten (PartWorld's classes), 17 among all twenty.
CLASS_COLOURS: dict[str, str] = {
    "aeroplane": "#a569f0", "bird": "#f00000", "boat": "#0fffd2", "bottle": "#87004b", "bus": "#ffe100",
    "car": "#5a96b4", "cat": "#3c00d2", "dog": "#b4f087", "horse": "#c37869", "person": "#691e87",
    "bicycle": "#a5001e", "chair": "#ffa5ff", "cow": "#d22d87", "dining table": "#ff8700",
    "motorbike": "#b4964b", "potted plant": "#00c396", "sheep": "#692db4", "sofa": "#b42dff",
    "train": "#6969b4", "tv monitor": "#964b4b",
}  # fmt: skip
_KNOWN = ("classes", "synonyms", "background", "colours")
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

    def require_known(self, path: Path, classes: tuple[str, ...]) -> None:
        """ValueError where a synonym or colour belongs to none of the classes."""
        for section in ("synonyms", "colours"):
            for name in getattr(self, section):
                if name not in classes:
                    raise ValueError(f"{path}: {section}: unknown class {name!r} (known: {', '.join(classes)})")


def read_classes(path: Path) -> ClassesFile:
    """The file as it is, or an empty ClassesFile where there is none; ValueError for what is wrong in it."""
    if not path.exists():
        return ClassesFile()
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8-sig")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(given, Mapping) or not set(given) <= set(_KNOWN):
        found = ", ".join(map(str, given)) if isinstance(given, Mapping) else repr(given)
        raise ValueError(f"{path}: found {found}; expected some of {', '.join(_KNOWN)}")
    given = {name: value for name, value in given.items() if value is not None}
    classes = _words(given.get("classes", []), f"{path}: classes")
    if len(set(classes)) < len(classes):
        raise ValueError(f"{path}: classes: a name occurs twice in {', '.join(classes)}")
    synonyms = _mapping(given.get("synonyms", {}), f"{path}: synonyms")
    colours = _mapping(given.get("colours", {}), f"{path}: colours")
    return ClassesFile(
        classes,
        {name: _words(words, f"{path}: synonyms: {name}") for name, words in synonyms.items()},
        _words(given.get("background", []), f"{path}: background"),
        {name: _colour(value, f"{path}: colours: {name}") for name, value in colours.items()},
    )


def distinct_colours(classes: tuple[str, ...], chosen: Mapping[str, str]) -> dict[str, str]:
    """A colour for every class: the chosen one, else that of its name in VOC, else one that no other class has.

    Where there are more classes than CLASS_COLOURS they come round again.
    """
    colours = {name: chosen.get(name) or CLASS_COLOURS.get(name) for name in classes}
    every = list(CLASS_COLOURS.values())
    free = [colour for colour in every if colour not in colours.values()] or every
    unnamed = [name for name in classes if not colours[name]]
    return colours | {name: free[place % len(free)] for place, name in enumerate(unnamed)}


def _words(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: found {value!r}, expected a list such as [cat, dog]")
    for word in value:
        if not isinstance(word, str) or not word.strip():
            raise ValueError(f"{where}: found {word!r}, expected a word; put it in quotes")
    return tuple(word.strip() for word in value)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: found {value!r}, expected class names with their values")
    return value


def _colour(value: Any, where: str) -> str:
    try:
        return "#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(value)[:3])
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f'{where}: found {value!r}, expected a colour such as "#3c00d2", in quotes, or red') from None
