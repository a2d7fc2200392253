"""Settings of what visual descriptions are made from and how they join the queries (docs/equations.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from vdalib.config.schema import LARGE, NonNegative, Positive, Range, Section, Share, Size, SizeOrZero, Steps


@dataclass(frozen=True)
class FlowConfig(Section):
    """The invertible network [A] sec. 2; docs/equations.md."""

    steps: Size = 6  # invertible layers
    coupling: Literal["affine", "none"] = "affine"  # affine [A]; none leaves ActNorm alone, a control [R]
    mixing: Literal["none", "swap", "permute"] = "none"  # of channels, between layers: none is [A], the others [R]
    clamp: Positive = 1.9  # a in a tanh(s / a), which bounds log scales [P]
    hidden: Size | None = None  # width of the coupling networks; None = joint width [R]


@dataclass(frozen=True)
class MixtureConfig(Section):
    """The hierarchical mixture in latent space and how it is fitted (docs/equations.md)."""

    attributes: Size = 8  # of each class: M [N]
    patch_attributes: SizeOrZero = 0  # patches of each reliable instance that L_intra is fitted to as well; 0 is [N], else [R]
    start: Literal["random", "kmeans"] = "random"  # of attribute offsets; kmeans of recent latents when stage 3 begins is [R]
    offset_scale: Positive = 0.1  # initial spread of attribute offsets, latent units [R]
    batch_size: Annotated[int, Range(at_least=2, at_most=LARGE)] = 16  # reliable prototypes per INN step [N]
    replay: Steps = 0  # further INN steps after each, on prototypes drawn from the recent ones [R]
    replay_balanced: bool = False  # draw each class as often as any other [R]
    recent: Size = 1024  # reliable prototypes kept for replay and for the k-means start [R]
    learning_rate: Positive = 2e-4  # of the INN [N]
    centre_lr_factor: Positive = 10.0  # centres and weights of the mixture learn this much faster [R]
    nll_scale: Literal["per_vector", "per_dimension"] = "per_vector"  # of L_inter and L_intra: whole [A], or divided by D [P]
    discriminative_weight: NonNegative = 1.0  # of L_dis beside L_inter [N]


@dataclass(frozen=True)
class AssemblyConfig(Section):
    """From a mixture to queries: VDAF, DSE and the reliable filter (docs/equations.md)."""

    fusion: bool = True  # VDAF: visual descriptions join the text in the queries [N]
    enhancement: bool = True  # DSE: L_con pulls the adapter to the class anchors [N]
    enhancement_weight: NonNegative = 0.2  # of L_con [N]
    enhancement_temperature: Positive = 0.1  # of L_con [R]
    reliable_filter: bool = True  # only prototypes that zero shot names rightly teach the mixture [N]
    reliable_threshold: Share = 0.95  # zero-shot probability above which a prototype is reliable [N]
    density: Literal["per_dimension", "literal", "static"] = "per_dimension"  # alpha: literal [N], the others [R]
    static_density: Share = 0.6  # alpha where density is static [N]
    response: Literal["literal", "per_dimension"] = "literal"  # literal [N], nearly one-hot; per_dimension [R]
