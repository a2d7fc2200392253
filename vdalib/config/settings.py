"""Every setting of a run: plain dataclasses, one per module (flow, mixture and assembly are in `assembly`), presets in YAML.

>>> Config.from_preset("partworld", {"schedule.batch_size": 8}).schedule.batch_size
8
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from vdalib.config.assembly import AssemblyConfig, FlowConfig, MixtureConfig
from vdalib.config.methods import options_class
from vdalib.config.reading import shown, with_relative
from vdalib.config.schema import (
    Count,
    NonNegative,
    Positive,
    Range,
    Scale,
    Section,
    Seed,
    Share,
    Size,
    Steps,
    build,
    merged,
    nested,
    plain,
)
from vdalib.config.sources import OUTWARD, PATHS, read_settings
from vdalib.config.words import in_words
from vdalib.io import atomic_path

CORRECTED = "masks"  # the split of one's own folder that has masks corrected by hand


@dataclass(frozen=True)
class DataConfig(Section):
    """Where images and labels come from, and how a training crop is cut."""

    name: Literal["partworld", "voc12", "coco14", "folder"] = "partworld"  # which data set; folder: one's own pictures
    root: str | None = None  # folder of the data set; PartWorld needs none
    labels: str | None = None  # folder of the prepared image-level label files; None = root
    train_split: str = "train"  # images that teach, by their labels alone
    val_split: str = "val"  # images whose masks evaluation reads
    train_size: Count | None = None  # number of images, PartWorld only
    val_size: Count | None = None  # likewise, of val
    granularity: Literal["class", "kind"] = "class"  # what labels and masks tell apart; kinds are PartWorld's only
    crop: Size = 96  # px, a multiple of CLIP's patch size
    scale: tuple[Scale, Scale] = (0.5, 2.0)  # random scaling, times the image's own size [A]
    workers: Annotated[int, Range(at_least=0, at_most=256)] = 0  # processes that load images
    size: Size | None = None  # folder: px, larger images are shrunk to about size x size; None = as they are
    on_bad_image: Literal["error", "skip"] = "error"  # what preparation does with images that cannot be read
    classes: tuple[str, ...] | None = None  # folder: filled in by the prepared folder, in the order of the label maps
    colours: dict[str, str] = field(default_factory=dict)  # folder: #rrggbb of each class, filled in likewise
    masks: str | None = None  # folder: masks corrected by hand, NAME.png as `segment` writes them; for evaluation only

    def _check(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"data.scale: found {list(self.scale)}, expected the smaller factor first")
        for name in ("train_size", "val_size"):
            if getattr(self, name) is not None and self.name != "partworld":
                raise ValueError(f"data.{name}: data.name {self.name!r} has no size to choose; leave it null")
        if self.granularity != "class" and self.name != "partworld":
            raise ValueError(f"data.granularity: data.name {self.name!r} has no kinds; leave it at class")
        if self.size is not None and self.name != "folder":
            raise ValueError(f"data.size: images of data.name {self.name!r} are taken as they are; leave it null")
        if self.name == "folder" and self.train_split == CORRECTED:
            raise ValueError(f"data.train_split: {CORRECTED!r} is for evaluation only; take all")
        if self.masks is not None and self.name != "folder":
            raise ValueError(f"data.masks: data.name {self.name!r} has its own; leave it null")
        for name, colour in self.colours.items():
            if not re.fullmatch("#[0-9a-f]{6}", colour):
                raise ValueError(f"data.colours.{name}: expected #rrggbb such as '#3c00d2', got {shown(colour)}")


@dataclass(frozen=True)
class ClipConfig(Section):
    """The frozen CLIP, its dense calibration and its prompts [P]."""

    model: str = "partworld"  # an open_clip model name, or our own small one
    pretrained: str | None = "partworld"  # open_clip tag or weights file; None = random weights
    calibration: Literal["static", "learnable", "value", "none"] = "static"  # Surgery's, with the adapter's, MaskCLIP's [P]
    calibrated_blocks: Count = 5  # from the last one back [P]
    share_heads: bool = False  # one attention for all heads, annex [R]
    affinity_blocks: Count = 6  # last blocks whose attention maps the random walk follows [P]
    position_resize: Literal["bicubic", "bilinear"] = "bicubic"  # to another grid: bicubic is open_clip's [R], bilinear [P]
    templates: tuple[str, ...] = ("a clean origami {}.",)  # prompts of a class, {} for its name [N]
    background_prompts: tuple[str, ...] = ("sky", "water", "grass", "road", "room", "sand")  # words, in the templates
    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)  # class -> further words, whose prompts are averaged [R]
    prompt_words: dict[str, str] = field(default_factory=dict)  # class -> what stands for its name in its one prompt [P]
    sentences: str | None = None  # a CSV file of sentences about the classes, or "builtin"; None = the prompts alone
    attributes: Count = 112  # k-means centres of the sentences [P]
    attribute_share: Annotated[float, Range(above=0, at_most=1)] = 0.9  # of the attributes, those most like a class [P]
    enrichment_weight: NonNegative = 1.0  # of the sentences' attributes beside the prompts [P]
    enrichment_temperature: Positive = 1.0  # of the softmax over attributes; 1 is [P], less is more selective [R]
    # what is embedded of a sentence; name_prompt is the first template with the class's name
    sentence_template: str = "{name_prompt} {sentence}"

    def words(self, class_names: Sequence[str]) -> list[tuple[str, ...]]:
        """What each class is called in its prompts: its name in separate words, or its prompt words, and its synonyms.

        Raises ValueError for words of a class that is none of `class_names`.
        """
        for setting in ("synonyms", "prompt_words"):
            for name in getattr(self, setting):
                if name not in class_names:
                    near = difflib.get_close_matches(name, class_names, n=3, cutoff=0)
                    raise ValueError(f"clip.{setting}: unknown class {name!r}; the nearest: {', '.join(near)}")
        first = [self.prompt_words.get(name, in_words(name)) for name in class_names]
        return [tuple(dict.fromkeys((word, *self.synonyms.get(name, ())))) for name, word in zip(class_names, first)]

    def _check(self) -> None:
        braces = self.sentence_template.replace("{name_prompt}", "").replace("{sentence}", "", 1)
        if "{sentence}" not in self.sentence_template or "{" in braces or "}" in braces:
            raise ValueError(
                f"clip.sentence_template: found {self.sentence_template!r}, "
                "expected {sentence} once and perhaps {name_prompt} in it"
            )
        if not self.templates or not self.background_prompts:
            raise ValueError("clip.templates and clip.background_prompts: expected at least one of each")
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"clip.templates: {template!r} needs exactly one {{}}; put it where the class name goes")


@dataclass(frozen=True)
class BackboneConfig(Section):
    """The vision transformer that ToCo and SeCo train end to end."""

    name: str = "clip"  # a plain ViT of timm, or "clip": it starts as the vision tower of section clip [R]
    pretrained: str | None = None  # timm's tag or a weight file; None = random weights
    auxiliary_block: Annotated[int, Range(at_most=-1)] = -3  # counted from the end; its tokens have a classifier of their own

    def _check(self) -> None:
        if self.name == "clip" and self.pretrained is not None:
            raise ValueError("backbone.pretrained: with backbone.name 'clip' clip.pretrained says which weights; leave it null")


@dataclass(frozen=True)
class SegmenterConfig(Section):
    """Adapter and decoder [A] sec. 1."""

    width: Size = 256  # channels of adapter and decoder
    depth: Size = 3  # transformer layers of the decoder
    heads: Size = 8  # of attention in each layer [P]
    dropout: Annotated[float, Range(at_least=0, at_most=0.99)] = 0.1  # of the adapter's channels [P]

    def _check(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"segmenter.heads: {self.heads} heads do not divide segmenter.width {self.width}; choose a divisor")


@dataclass(frozen=True)
class RefineConfig(Section):
    """From CAM to pseudo label (docs/equations.md)."""

    random_walk: bool = True  # along the attention maps [P]; False leaves the seeds to PAR alone [R]
    affinity_threshold: Share = 0.79  # of a CAM's maximum, for its box mask [P]
    adapter_affinity: bool = True  # joins the attention maps from schedule.adapter_joins on [P]
    # CAM value that ties with background; 0.5 is [P], all else [R]
    background_cut: Annotated[float, Range(at_least=0.05, at_most=0.95)] = 0.5
    par_iterations: Steps = 20  # of pixel-adaptive refinement [P]
    redundancy_removal: bool = False  # CLIP Surgery's, annex [P]
    scale_with_cls: bool = False  # then seeds are min-max scaled over the class token as well, as ExCEL's code does; False is [R]
    ignore_margin: Share = 0.0  # a pixel whose winner leads by less becomes 255 [R]


@dataclass(frozen=True)
class ScheduleConfig(Section):
    """The three stages and the optimiser (docs/equations.md)."""

    segmenter_steps: Steps = 8000  # stage 1: text queries only [A]
    inter_steps: Steps = 2000  # stage 2: + INN with the class mixture [A]
    total_steps: Count = 30_000  # stage 3 takes what is left [N]
    batch_size: Size = 4  # images per step, over all processes [N]
    learning_rate: Positive = 1e-4  # of adapter and decoder [N]
    weight_decay: NonNegative = 1e-2  # of AdamW [P]
    lr_warmup: Steps = 50  # steps over which learning rates rise from zero [P]
    lr_power: NonNegative = 1.0  # of the polynomial by which they fall to zero [P]
    background_weight: Share = 0.5  # of the segmentation loss; 0.5 is [P], else [R]
    affinity_weight: NonNegative = 0.1  # of the affinity loss [P]
    # share of the steps from where the adapter, no longer raw, calibrates and joins the walk: ExCEL's on VOC [P]; 1 = never
    adapter_joins: Annotated[float, Range(above=0, at_most=1)] = 14_000 / 30_000
    # share of the steps from where the prediction labels the affinity loss; ExCEL: 0.8 [P]; None = never
    prediction_joins: Share | None = None
    checkpoint_every: Count = 1000  # steps
    validate_every: Steps = 0  # steps between two looks at val, into metrics.jsonl; 0 = never
    keep: Count = 2  # newest checkpoints that stay, beside those at the ends of stages

    def first_step(self, share: float) -> int:
        """The first step before which at least this share of the schedule is over: `Step.share` >= share from there on."""
        step = int(share * self.total_steps)
        return step + (step / self.total_steps < share)

    @property
    def stage_ends(self) -> tuple[int, int, int]:
        """The steps at which stages 1, 2 and 3 are over."""
        return self.segmenter_steps, self.segmenter_steps + self.inter_steps, self.total_steps

    def _check(self) -> None:
        first = self.segmenter_steps + self.inter_steps
        if first > self.total_steps:
            raise ValueError(
                f"schedule.total_steps: {self.total_steps} is less than the first two stages take "
                f"(segmenter_steps {self.segmenter_steps} + inter_steps {self.inter_steps} = {first}); give it more"
            )


@dataclass(frozen=True)
class InferenceConfig(Section):
    """Multi-scale, flip and DenseCRF ([A] section 1)."""

    size: Size | None = None  # px: scale 1 brings an image to about size x size pixels, aspect kept; None = its own size
    square: bool = False  # to size x size whatever the aspect, as in ToCo and SeCo [P]
    scales: tuple[Scale, ...] = (0.7, 1.0, 1.2, 1.5)  # of the views that are put together [P]
    flip: bool = True  # mirrored views, too [P]
    over_mirrors: Literal["mean", "sum", "max"] = "mean"  # of the logits; a sum sharpens what DenseCRF is given
    over_scales: Literal["mean", "sum", "max"] = "mean"  # likewise, of the scales
    crf_iterations: Steps = 10  # of mean field, DenseCRF [P]
    crf_pos_sigma: Positive = 1.0  # px, of the smoothness kernel [P]
    crf_pos_weight: NonNegative = 3.0  # of the smoothness kernel [P]
    crf_bilateral_sigma_xy: Positive = 67.0  # px, of the appearance kernel [P]
    crf_bilateral_sigma_rgb: Positive = 3.0  # of 255, of the appearance kernel [P]
    crf_bilateral_weight: NonNegative = 4.0  # of the appearance kernel [P]

    def _check(self) -> None:
        if not self.scales:
            raise ValueError("inference.scales: expected at least one scale, for example [1.0]")
        if self.square and self.size is None:
            raise ValueError("inference.square: give the side as inference.size, for example 448")

    @property
    def fusion(self) -> dict[str, Any]:
        """Size and way of putting views together, as `vdalib.inference.multi_scale_logits` takes them."""
        return {name: getattr(self, name) for name in ("size", "square", "over_mirrors", "over_scales")}


@dataclass(frozen=True)
class Config(Section):
    """All settings of a run; `preset` only names where they came from.

    A path that begins with {run} lies in the folder of the YAML file, so that a run directory can be moved.
    """

    preset: str = "partworld"  # what the settings started from
    method: str = "vda"  # a name in vdalib.config.methods, or "package.module:Class" of one's own
    options: Section | None = None  # the method's own settings
    data: DataConfig = field(default_factory=DataConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    assembly: AssemblyConfig = field(default_factory=AssemblyConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    seed: Seed = 0  # of data, initialisation and order
    precision: Literal["no", "bf16", "fp16"] = "no"  # autocast; no = full precision
    tracker: Literal["tensorboard", "wandb", "mlflow"] | None = None  # beside metrics.jsonl; its package must be installed

    def _check(self) -> None:
        wanted = options_class(self.method)
        if self.options is None:
            object.__setattr__(self, "options", wanted())
        if not isinstance(self.options, wanted):
            raise ValueError(f"options: method {self.method!r} takes {wanted.__name__}, got {self.options!r}")

    @classmethod
    def from_preset(cls, source: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
        """A preset by name or a YAML file by path, with overrides such as {"schedule.batch_size": 8} on top.

        A file may name in `base` the packaged preset that it starts from. Raises ValueError for unknown keys,
        wrong types and impossible values, FileNotFoundError for a source that is neither a preset nor a file.
        """
        values = read_settings(source)
        try:
            return cls.from_dict(merged(values, nested(overrides or {})))
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    @classmethod
    def of_run(cls, run_dir: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
        """The settings of a run directory, with overrides on top.

        Raises FileNotFoundError where config.yaml is missing, ValueError for a run of the first edition, whose weights are those
        of another decoder.
        """
        path = Path(run_dir) / "config.yaml"
        if not path.exists():
            raise FileNotFoundError(f"{path}: missing; {run_dir} is not the directory of a trained run")
        if "method" not in read_settings(path):
            raise ValueError(
                f"{path}: a run of the first edition (it names no method), whose decoder was another; train it again"
            )
        return cls.from_preset(path, overrides)

    def differences(self, other: Config) -> dict[str, str]:
        """Dotted name -> a sentence, of the settings that `other` has different.

        Those that do not count (`counts`) are left out.
        """
        return {name: said for name, said in _differences(self.to_dict(), other.to_dict()) if self.counts(name)}

    def counts(self, name: str) -> bool:
        """Whether a setting, by its dotted name, changes what training computes, as another folder of one's own does."""
        if name == "data.root":
            return self.data.name == "folder"
        return name not in OUTWARD and not name.startswith("data.colours")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Nested mappings, as `to_dict` gives them; what is left out keeps its default."""
        method = values.get("method", cls.method) if isinstance(values, Mapping) else cls.method
        if not isinstance(method, str):
            raise ValueError(f"method: expected a name, got {method!r}")
        return build(cls, values, options=options_class(method))

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values (lists for tuples), fit for YAML and JSON."""
        return plain(self)

    def save(self, path: str | Path) -> None:
        """Write all settings as YAML, atomically; absolute paths in the file's folder are written relative to it."""
        folder = Path(path).absolute().parent
        values = with_relative(self.to_dict(), PATHS, folder)
        with atomic_path(path) as temporary:
            temporary.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _differences(saved: dict, given: dict, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if isinstance(value, dict) and isinstance(saved.get(name), dict) and value.keys() == saved[name].keys():
            yield from _differences(saved[name], value, f"{prefix}{name}.")
        elif name not in saved or value != saved[name]:
            yield f"{prefix}{name}", f"{prefix}{name} is {saved.get(name)!r} there, {value!r} here"
