"""A trained run, opened to be looked at: all that the method derives from labelled images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from vdalib.attributes.assembly import VisualDescriptionAssembler
from vdalib.config import Config
from vdalib.data import build_dataset
from vdalib.inference import Predictor, at_scale
from vdalib.segmentation import cam
from vdalib.segmentation.labelling import ImagePrototypes, PseudoLabeller
from vdalib.training.devices import autocast
from vdalib.training.trainer import VisualMixture


@dataclass
class WholeImages:
    """A batch of images of one size as the data set has them, nothing cut or mirrored.

    indices: in the data set. images: (B, 3, H, W) in 0..1. labels: (B, K) bool.
    masks:   (B, H, W) uint8, 0..K or 255, for evaluation; None unless asked for.
    """

    indices: list[int]
    images: Tensor
    labels: Tensor
    masks: Tensor | None = None


def whole_images(
    dataset, indices: Iterable[int] | None = None, batch_size: int = 8, masks: bool = False
) -> Iterator[WholeImages]:
    """A data set, or some of it, in batches of equal image size; in order where all sizes are equal."""
    waiting = defaultdict(list)
    for index in range(len(dataset)) if indices is None else indices:
        sample = dataset[index]
        mask = torch.from_numpy(dataset.mask(index)) if masks else None
        group = waiting[sample.image.shape]
        group.append((int(index), sample.image.as_subclass(Tensor), sample.labels, mask))
        if len(group) == batch_size:
            yield _stacked(waiting.pop(sample.image.shape))
    for group in waiting.values():
        yield _stacked(group)


class Run:
    """The parts of a trained run: config, clip, segmenter, labeller and, where it was trained, the mixture.

    predictor:   images to label maps by the segmenter alone.
    step, stage: of the weights; stage is 0, 1 or 2.
    mixture:     INN and hierarchical GMM; None before stage 2, without mixture.safetensors, or in a run with
                 neither fusion nor enhancement.
    assembler:   attribute retrieval and fusion on that mixture, or None.
    """

    def __init__(self, predictor: Predictor, config: Config, step: int, mixture: VisualMixture | None = None):
        self.predictor, self.config, self.step, self.mixture = predictor, config, step, mixture
        self.clip, self.segmenter, self.device = predictor.clip, predictor.segmenter, predictor.device
        self.class_names = predictor.class_names
        self.labeller = PseudoLabeller(self.clip, self.class_names, config)
        self.stage = sum(step > end for end in config.schedule.stage_ends[:2])
        settings = config.assembly
        self.assembler = mixture and VisualDescriptionAssembler(
            mixture.flow, mixture.gmm, settings.density, settings.static_density, settings.response
        )

    @classmethod
    def load(
        cls,
        run_dir: str | Path,
        step: int | None = None,
        overrides: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
    ) -> Run:
        """Open a run directory, at its last weights or at the checkpoint of `step` (`schedule.stage_ends`).

        overrides: of the run's settings, such as {"data.root": ...} where the data have moved.
        Raises FileNotFoundError where there is no trained run, or no checkpoint of that step.
        """
        run_dir = Path(run_dir)
        predictor = Predictor.from_run(run_dir, device)
        config = predictor.config = Config.from_preset(run_dir / "config.yaml", overrides)
        steps = [int(path.name.removeprefix("step_")) for path in run_dir.glob("checkpoints/step_*[0-9]")]
        if step is not None:
            if step not in steps:
                raise FileNotFoundError(f"{run_dir}/checkpoints: no step {step} (there are: {sorted(steps)})")
            folder = run_dir / "checkpoints" / f"step_{step:07d}"
            weights = _part(load_file(folder / "model.safetensors"), "segmenter.")
            predictor.segmenter.load_state_dict(weights)
            mixture_file = folder / "model_1.safetensors"
        else:
            step = max(steps, default=config.schedule.total_steps)
            mixture_file = run_dir / "mixture.safetensors"
        settings, mixture = config.assembly, None
        trained = step > config.schedule.segmenter_steps and (settings.fusion or settings.enhancement)
        if trained and mixture_file.exists():
            mixture = VisualMixture(config, len(predictor.class_names), predictor.clip.dim)
            mixture.load_state_dict(_part(load_file(mixture_file), ""))
            mixture = mixture.to(device).eval().requires_grad_(False)
        return cls(predictor, config, step, mixture)

    @property
    def fuses(self) -> bool:
        """Whether queries are fused with visual descriptions: in stage 3, with VDAF on."""
        return self.stage == 2 and self.config.assembly.fusion and self.assembler is not None

    def dataset(self, split: str):
        """The run's own "train" or "val" data, or another split of the data set by its name."""
        data = self.config.data
        split = {"train": data.train_split, "val": data.val_split}.get(split, split)
        return build_dataset(data, split, self.config.seed)

    def evidence(self, images: Tensor, labels: Tensor) -> Evidence:
        """Of images (B, 3, H, W) in 0..1, brought to scale 1 in whole patches, with labels (B, K) bool."""
        images = at_scale(images.to(self.device), self.clip.patch_size, size=self.config.inference.size)
        return Evidence(self, images, labels.to(self.device))


class Evidence:
    """What a run sees in a batch of labelled images; one CLIP pass, the rest is computed when asked for.

    images: (B, 3, H, W). labels: (B, K). features: CLIP's DenseFeatures. logits: (B, K+1, h, w) of the
    decoder. embedding: (B, E, h, w) of the adapter. Seeds and refined seeds are (B, K, h, w) in 0..1, label
    maps (B, H, W) of 0..K or 255; "text" ones come from text prototypes, the others from the run's queries.
    """

    @torch.no_grad()
    def __init__(self, run: Run, images: Tensor, labels: Tensor):
        self.run, self.images, self.labels = run, images, labels
        with autocast(run.device, run.config.precision):
            walk = run.config.refine.random_walk
            self.features = run.clip.encode_image(images, attention=walk, embed=run.segmenter.adapter)
            output = run.segmenter(self.features.layers, self.features.grid)
        self.logits, self.embedding = output.logits.float(), output.embedding.float()

    @cached_property
    def found(self) -> ImagePrototypes:
        """The image's class prototypes and which of them are reliable."""
        return self.run.labeller.prototypes(self.features, self.logits, self.labels)

    @cached_property
    def text_queries(self) -> Tensor:
        """(B, K, D)."""
        return self.run.labeller.queries(self.found, None)

    @cached_property
    def queries(self) -> Tensor:
        """(B, K, D): fused where the run fuses and a reliable prototype exists, else the text prototypes."""
        return self.run.labeller.queries(self.found, self.run.assembler if self.run.fuses else None)

    @cached_property
    def text_seeds(self) -> Tensor:
        return self.seeds_of(self.text_queries)

    @cached_property
    def seeds(self) -> Tensor:
        return self.seeds_of(self.queries)

    @cached_property
    def refined_text_seeds(self) -> Tensor:
        return self.refined_of(self.text_seeds)

    @cached_property
    def refined_seeds(self) -> Tensor:
        return self.refined_of(self.seeds)

    @cached_property
    def pseudo_label(self) -> Tensor:
        """What the segmenter would be taught here: (B, H, W)."""
        return self.pseudo_label_of(self.queries)

    @property
    def prediction(self) -> Tensor:
        """(B, H, W): what the segmenter says, without being told the labels."""
        return self.prediction_at(self.images.shape[-2:])

    def prediction_at(self, size: tuple[int, int]) -> Tensor:
        """(B, *size): the segmenter's answer at another size."""
        return F.interpolate(self.logits, size, mode="bilinear", align_corners=False).argmax(1)

    def seeds_of(self, queries: Tensor) -> Tensor:
        """Seeds of any queries (B, K, D)."""
        return self.run.labeller.activation(self.features, queries, self.labels)

    def pseudo_label_of(self, queries: Tensor) -> Tensor:
        """Pseudo labels (B, H, W) of any queries (B, K, D)."""
        return self.run.labeller.pseudo_label(self.features, queries, self.labels, self.images, self._own_embedding)

    def refined_of(self, seeds: Tensor) -> Tensor:
        """Seeds after the random walk, scaled to 0..1 again; the same seeds where the run does not walk."""
        walked = self.run.labeller.refined(self.features, seeds, self.labels, self._own_embedding)
        return cam.min_max(walked)

    @property
    def _own_embedding(self) -> Tensor | None:
        return self.embedding if self.run.stage > 0 else None


def _stacked(group: list[tuple]) -> WholeImages:
    indices, images, labels, masks = zip(*group)
    known = None if masks[0] is None else torch.stack(masks)
    return WholeImages(list(indices), torch.stack(images).float() / 255, torch.stack(labels), known)


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights under a prefix, without it and without what a multi-process wrapper puts in front."""
    plain = {name.removeprefix("module."): value for name, value in weights.items()}
    return {name.removeprefix(prefix): value for name, value in plain.items() if name.startswith(prefix)}
