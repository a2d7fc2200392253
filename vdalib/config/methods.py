"""The methods by name, and what settings each has of its own; torch is not needed to check them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

from vdalib.config.schema import Count, NonNegative, Positive, Section, Share, Steps


@dataclass(frozen=True)
class NoOptions(Section):
    """A method without settings of its own."""


@dataclass(frozen=True)
class ClassMeanOptions(Section):
    """The running class mean as a query, the control of every mixture."""

    centres: Count = 1  # of k-means; the nearest to the image's prototype is used
    weight: Share = 0.6  # of the mean in the query, beside the text; 0.6 is the best static alpha reported [N]


@dataclass(frozen=True)
class TokenOptions(Section):
    """What ToCo and SeCo both set; sizes are those of the published crop of 448 px, steps those of VOC."""

    head_lr_factor: Positive = 10.0  # all that is new to the backbone learns so much faster than schedule.learning_rate
    cam_scales: tuple[Positive, ...] = (1.0, 0.5, 1.5)  # times the crop, of the CAMs that are put together
    high: Share = 0.7  # CAM value above which a pixel is the class
    low: Share = 0.25  # CAM value up to which it is background
    box_units: Literal["token", "pixel"] = "token"  # of the box in the token labels; "pixel" is a slip as published
    blur: tuple[Positive, Positive] = (0.1, 2.0)  # px, deviation
    par_scale: Positive = 0.5  # PAR's size, times the crop
    par_dilations: tuple[Count, ...] = (1, 2, 4, 8, 12, 24)  # px, of PAR's neighbourhoods
    contrast_from: Steps = 0  # first step with patch token contrast (ToCo: and class token contrast)
    segmentation_from: Steps = 2001  # first step with the decoder's losses
    final_labels_from: Steps = 0  # first step whose pixel labels come from the final CAM, before from the auxiliary one
    patch_contrast_weight: NonNegative = 0.2  # of patch token contrast
    energy_weight: NonNegative = 0.05  # of the regularisation by colour

    def _check(self) -> None:
        if self.low > self.high:
            raise ValueError(f"options.low: found {self.low}, expected at most options.high ({self.high})")
        if self.blur[0] > self.blur[1]:
            raise ValueError(f"options.blur: found {list(self.blur)}, expected the smaller deviation first")
        if not self.cam_scales:
            raise ValueError("options.cam_scales: expected at least one scale, for example [1.0]")


@dataclass(frozen=True)
class TocoOptions(TokenOptions):
    """ToCo's published settings for VOC."""

    class_contrast_weight: NonNegative = 0.5  # of class token contrast
    segmentation_weight: NonNegative = 0.1  # of the decoder's cross entropy
    local_crops: Count = 8  # per image
    local_size: Count = 96  # px
    temperature: Positive = 0.5  # of class token contrast
    extra_zero_positive: bool = True  # its slip, published on
    projection: tuple[Count, Count, Count] = (2048, 256, 1024)  # hidden, bottleneck, out; temperature wants out = 4 x bottleneck
    decoder_width: Count = 512  # channels
    decoder_dilation: Count = 5  # patches


@dataclass(frozen=True)
class SecoOptions(TokenOptions):
    """SeCo's published settings for VOC, its slips mended; `as_published` brings back those that its loss levels depend on."""

    cam_scales: tuple[Positive, ...] = (1.0, 0.5, 0.75, 1.5)  # times the crop, of the CAMs that are put together
    patch_contrast_weight: NonNegative = 0.3  # of patch token contrast
    prototype_weight: NonNegative = 0.5  # L_lig
    reservoir_weight: NonNegative = 0.5  # L_lil
    segmentation_weight: NonNegative = 0.12  # of the decoder's cross entropy
    patches: Count = 10  # per image
    patch_size: Count = 64  # px
    prototypes_from: Steps = 600  # first step that updates prototypes
    knowledge_from: Steps = 1001  # first step with L_lig and L_lil
    tags_from: Steps = 10_000  # first step whose tags come from the final CAM, before from the auxiliary one
    prototype_momentum: Share = 0.9  # share of a prototype that an update keeps
    prototype_images: Steps = 0  # pictures that a prototype has seen before it counts [R]
    teacher_momentum: Share = 0.999  # of encoder and projection
    reservoir: Count = 4608  # keys
    projection: Count = 2048  # hidden width
    decoder_dilations: tuple[Count, ...] = (6, 12, 18, 24)  # patches
    single_class: Literal["label", "cam"] = "label"  # who says that uncertain places are the one class; "cam" is as published
    global_keys: Literal["momentum", "student"] = "momentum"  # whose class tokens make the whole views' keys; published: student
    background_attracts: bool = True  # background is a tag of L_lil as classes are
    as_published: bool = False  # L_lil's sums, keys twice, its noise filter, prototypes of raw tokens

    def _check(self) -> None:
        super()._check()
        if self.as_published and not self.background_attracts:
            raise ValueError("options.background_attracts: false is ours, options.as_published is not; choose one of them")


@dataclass(frozen=True)
class ExCELOptions(Section):
    """The moments are `schedule.adapter_joins` and `schedule.prediction_joins` [P]."""

    # Whose pseudo labels the affinity loss takes until `schedule.prediction_joins`: of static CAMs (the paper) or the
    # current ones (the code) [P].
    affinity_target: Literal["static", "current"] = "current"
    dense_layer: bool = False  # the adapter reads the statically calibrated path as well, which the code does by accident [R]


@dataclass(frozen=True)
class WeCLIPOptions(Section):
    """The refinement module (RFM) begins at `schedule.adapter_joins`; `refine.adapter_affinity: false` leaves it out.

    Defaults are the published ones for VOC [P].
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
    "toco": ("vdalib.methods.toco:ToCo", TocoOptions),
    "seco": ("vdalib.methods.seco:SeCo", SecoOptions),
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
    if not isinstance(getattr(found, attribute, None), type):
        raise ValueError(f"method: {name!r}: {module} has no class {attribute}")
    return getattr(found, attribute)


def options_class(name: str) -> type[Section]:
    """The settings of a method: a dataclass on `Section`, which for one's own method is its attribute `Options`."""
    if name in BUILT_IN:
        return BUILT_IN[name][1]
    return getattr(method_class(name), "Options", NoOptions)
