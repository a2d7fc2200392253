"""The methods by name, and what settings each has of its own; torch is not needed to check them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

from vdalib.config.schema import Count, Section, Share


@dataclass(frozen=True)
class NoOptions(Section):
    """A method without settings of its own."""


@dataclass(frozen=True)
class ClassMeanOptions(Section):
    """The running class mean as a query, the control of every mixture."""

    centres: Count = 1  # of k-means; the nearest to the image's prototype is used
    weight: Share = 0.6  # of the mean in the query, beside the text; 0.6 is the best static alpha reported [N]


@dataclass(frozen=True)
class ExCELOptions(Section):
    """The moments are `schedule.adapter_joins` and `schedule.prediction_joins` (peers/excel.md sec. 3, 7 and 8)."""

    # Whose pseudo labels the affinity loss takes until `schedule.prediction_joins`: of static CAMs (the paper) or the
    # current ones (the code) [P].
    affinity_target: Literal["static", "current"] = "current"
    dense_layer: bool = False  # the adapter reads the statically calibrated path as well, which the code does by accident [R]


@dataclass(frozen=True)
class WeCLIPOptions(Section):
    """The refinement module (RFM) begins at `schedule.adapter_joins`; `refine.adapter_affinity: false` leaves it out.

    Defaults are the published ones for VOC (peers/weclip.md sec. 4 and 5).
    """

    plain_blocks: Count = 8  # last attention maps averaged before it
    gated_blocks: Count = 6  # last attention maps that it chooses among; 10 for COCO
    absolute: bool = False  # it compares absolute differences, as the paper's text has it, and not signed ones [R]
    pool: Literal["patches", "cls"] = "patches"  # what Grad-CAM's score is read from; cls is [R]


BUILT_IN: dict[str, tuple[str, type[Section]]] = {
    "vda": ("vdalib.methods.vda:VDA", NoOptions),
    "text": ("vdalib.methods.text:TextOnly", NoOptions),
    "excel": ("vdalib.methods.excel:ExCEL", ExCELOptions),
    "weclip": ("vdalib.methods.weclip:WeCLIP", WeCLIPOptions),
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
