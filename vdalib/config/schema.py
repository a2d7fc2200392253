"""Dataclasses that check their own types, limits, choices and names, with errors that name the setting."""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from vdalib.config.reading import shown


@dataclass(frozen=True)
class Range:
    """Limits of a number; `above` excludes the limit itself, the others include it."""

    at_least: float = -math.inf
    at_most: float = math.inf
    above: float = -math.inf

    def __contains__(self, value: float) -> bool:
        return self.at_least <= value <= self.at_most and value > self.above

    def __str__(self) -> str:
        limits = {"at least": self.at_least, "at most": self.at_most, "above": self.above}
        return " and ".join(f"{name} {limit:,}" for name, limit in limits.items() if math.isfinite(limit))


MANY = 10**9  # what is counted or repeated
LARGE = 65_536  # what takes memory: widths, pixels of a side, images of a batch

Count = Annotated[int, Range(at_least=1, at_most=MANY)]
Steps = Annotated[int, Range(at_least=0, at_most=MANY)]
Size = Annotated[int, Range(at_least=1, at_most=LARGE)]
SizeOrZero = Annotated[int, Range(at_least=0, at_most=LARGE)]
Seed = Annotated[int, Range(at_least=0, at_most=2**32 - 1)]
Scale = Annotated[float, Range(above=0, at_most=16)]
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # in a path or prompt
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(at_least=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]


class Section:
    """Base of a frozen dataclass of settings: `ScheduleConfig` is section `schedule`, `Config` the root, and what ends
    in `Options` is a method's own section `options`.

    Types and limits are checked whichever way it is made; integers become floats and lists tuples, as
    annotated. Raises ValueError.
    """

    def __post_init__(self) -> None:
        name = type(self).__name__
        prefix = "options" if name.endswith("Options") else name.removesuffix("Config").lower()
        for name, annotation in _annotations(type(self)).items():
            dotted = f"{prefix}.{name}" if prefix else name
            object.__setattr__(self, name, _checked(getattr(self, name), annotation, dotted))
        self._check()

    def _check(self) -> None:
        """What one field alone cannot tell."""


def build(cls: type, values: Any, prefix: str = "", known: list[str] | None = None, **sections: type) -> Any:
    """A Section, and those nested in it, from nested mappings; what is left out keeps its default.

    sections: what kind of Section a field of `cls` holds, where its annotation does not say.
    Raises ValueError for an unknown name, which it gives in full beside the nearest known one, and for
    whatever a section refuses.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{prefix.rstrip('.') or 'configuration'}: expected a mapping of settings, got {shown(values)}")
    annotations, built = _annotations(cls) | sections, {}
    known = known or _names(annotations)
    for key, value in values.items():
        if key not in annotations:
            given = f"{prefix}{key}"
            nearest = difflib.get_close_matches(given[:100], known, n=1, cutoff=0)[0]
            raise ValueError(f"unknown setting {shown(given)}; the nearest known one is '{nearest}'")
        section = annotations[key]
        built[key] = build(section, value, f"{prefix}{key}.", known) if _is_section(section) else value
    return cls(**built)


def plain(value: Any) -> Any:
    """The inverse of `build`: nested dictionaries with lists for tuples, fit for YAML and JSON."""
    if isinstance(value, Section):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """What is known, for the end of an error's text, and which of it was probably meant."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"known: {', '.join(known)}" + (f"; did you mean '{near[0]}'?" if near else "")


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """{"schedule.batch_size": 8} as {"schedule": {"batch_size": 8}}."""
    result: dict[str, Any] = {}
    for key, value in dotted.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        result = merged(result, value)
    return result


def merged(under: Mapping[str, Any], over: Mapping[str, Any], sections: bool = True) -> dict[str, Any]:
    """Nested mappings, `over` winning wherever both speak.

    sections: the values are sections of settings, which an empty mapping leaves as they are; it empties a setting of one.
    """
    result = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping) and (value or sections)
        result[key] = merged(result[key], value, sections=False) if both else value
    return result


@cache
def _annotations(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {item.name: hints[item.name] for item in fields(cls)}


def _names(annotations: Mapping[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, annotation in annotations.items():
        names.append(prefix + name)
        if _is_section(annotation):
            names += _names(_annotations(annotation), f"{prefix}{name}.")
    return names


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _checked(value: Any, annotation: Any, name: str) -> Any:
    """The value as its annotation wants it, or ValueError."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin in (Union, types.UnionType):  # always `something | None` here
        return None if value is None else _checked(value, arguments[0], name)
    if origin is Annotated:
        number, limits = _checked(value, arguments[0], name), arguments[1]
        if number not in limits:
            raise ValueError(f"{name}: expected {limits}, got {shown(value)}")
        return number
    if origin is Literal:
        if value is False and "no" in arguments:
            return "no"  # YAML reads no as false
        if value not in arguments:
            raise ValueError(f"{name}: expected one of {', '.join(map(str, arguments))}, got {shown(value)}")
        return value
    if origin is tuple:
        return _checked_tuple(value, arguments, name)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{name}: expected a mapping, got {shown(value)}")
        return {_checked(key, arguments[0], name): _checked(item, arguments[1], f"{name}.{key}") for key, item in value.items()}
    if annotation is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML reads 1e-4 as a string
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif isinstance(value, annotation) and not (annotation is int and isinstance(value, bool)):
        if annotation is str and _UNWRITABLE.search(value):
            raise ValueError(f"{name}: expected text without control characters, got {shown(value)}")
        return value
    raise ValueError(f"{name}: expected {annotation.__name__}, got {shown(value)}")


def _checked_tuple(value: Any, arguments: tuple, name: str) -> tuple:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name}: expected a list, got {shown(value)}")
    if arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise ValueError(f"{name}: expected {len(arguments)} values, got {shown(value)}")
    return tuple(_checked(item, arguments[0], name) for item in value)
