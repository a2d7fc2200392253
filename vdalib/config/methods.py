"""The methods by name, and what settings each has of its own; torch is not needed to check them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from vdalib.config.schema import Count, Section, Share


@dataclass(frozen=True)
class NoOptions(Section):
    """A method without settings of its own."""


@dataclass(frozen=True)
class ClassMeanOptions(Section):
    """The running class mean as a query, the control of every mixture."""

    centres: Count = 1  # of k-means; the nearest to the image's prototype is used
    weight: Share = 0.6  # of the mean in the query, beside the text; 0.6 is the best static alpha reported [N]


BUILT_IN: dict[str, tuple[str, type[Section]]] = {
    "vda": ("vdalib.methods.vda:VDA", NoOptions),
    "text": ("vdalib.methods.text:TextOnly", NoOptions),
    "class_mean": ("vdalib.methods.class_mean:ClassMean", ClassMeanOptions),
}


def method_class(name: str) -> type:
    """The class of a built-in method or of one's own, "package.module:Class".

    Raises ValueError where there is no such thing, with the cure.
    """
    module, colon, attribute = BUILT_IN[name][0].partition(":") if name in BUILT_IN else name.partition(":")
    known = f"known: {', '.join(BUILT_IN)}; one's own is named package.module:Class"
    if not colon or not attribute:
        raise ValueError(f"method: unknown method {name!r} ({known})")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        cure = "install it, or start where it lies (PYTHONPATH)"
        raise ValueError(f"method: {name!r}: cannot import {module} ({error}); {cure}") from error
    if not hasattr(found, attribute):
        raise ValueError(f"method: {name!r}: {module} has no {attribute}")
    return getattr(found, attribute)


def options_class(name: str) -> type[Section]:
    """The settings of a method: a dataclass on `Section`, which for one's own method is its attribute `Options`."""
    if name in BUILT_IN:
        return BUILT_IN[name][1]
    return getattr(method_class(name), "Options", NoOptions)
