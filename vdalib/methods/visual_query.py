"""Queries that are text at first and fused with a visual description in the last stage: VDA's three stages."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from vdalib.attributes.assembly import masked_prototypes, predicted_masks
from vdalib.attributes.losses import class_contrastive
from vdalib.methods.frozen_clip import ClipEvidence, FrozenClipMethod
from vdalib.segmentation.segmenter import Segmenter
from vdalib.training.step import Step


class ProjectedOutput(NamedTuple):
    """A `SegmenterOutput`, and `projected` (B, D, h, w), its embedding in CLIP's joint space, or None."""

    logits: Tensor
    embedding: Tensor
    whole: Tensor
    projected: Tensor | None


class ProjectedSegmenter(nn.Module):
    """The segmenter, and the projection of its embedding into CLIP's joint space that DSE needs ([R] sec. 7)."""

    def __init__(self, segmenter: Segmenter, dim: int):
        super().__init__()
        self.segmenter = segmenter
        self.projection = nn.Conv2d(segmenter.width, dim, 1, bias=False)

    def forward(self, layers, grid, project: bool = False) -> ProjectedOutput:
        output = self.segmenter(layers, grid)
        return ProjectedOutput(*output, self.projection(output.embedding) if project else None)


class VisualQueryMethod(FrozenClipMethod):
    """Stages: text queries; + visual knowledge is gathered from reliable prototypes; + queries are fused with it (VDAF) and the
    adapter is pulled to class anchors (DSE). A subclass says how it gathers (`learn`), fuses (`fused`) and where anchors are.
    """

    stages = ("segmenter", "inter-class", "intra-class")

    def __init__(self, config, class_names, device):
        super().__init__(config, class_names, device)
        self.model = ProjectedSegmenter(self.segmenter, self.clip.dim).to(device)
        self.loss_weights["contrastive"] = config.assembly.enhancement_weight

    @property
    def stage_ends(self) -> tuple[int, int, int]:
        return self.config.schedule.stage_ends

    def fused(self, prototypes: Tensor, classes: Tensor) -> Tensor:
        """Queries (n, D) of reliable prototypes (n, D) in classes (n,)."""
        raise NotImplementedError

    def anchors(self) -> Tensor:
        """Class anchors (K, D) for DSE."""
        raise NotImplementedError

    def learn(self, seen: ClipEvidence, step: Step) -> dict[str, Tensor]:
        """Gather visual knowledge from the reliable prototypes of a step; returns values to log."""
        raise NotImplementedError

    def fuses(self, stage: int) -> bool:
        """Whether queries are fused with visual descriptions in a stage."""
        return stage == 2 and self.config.assembly.fusion and self.remembers

    def _enhances(self, stage: int) -> bool:
        return stage == 2 and self.config.assembly.enhancement

    @property
    def learns(self) -> bool:
        """Whether anything uses what `learn` gathers."""
        return self.config.assembly.fusion or self.config.assembly.enhancement

    def queries(self, seen: ClipEvidence) -> Tensor:
        if not self.fuses(seen.step.stage):
            return seen.text_queries
        with record_function("inn and assembly"):
            image, classes = seen.found.reliable.nonzero(as_tuple=True)
            queries = seen.text_queries.clone()
            queries[image, classes] = self.fused(seen.found.prototypes[image, classes], classes)
        return queries

    def output(self, model, layers, grid, step: Step) -> ProjectedOutput:
        return model(layers, grid, self._enhances(step.stage))

    def terms(self, seen: ClipEvidence, step: Step) -> dict[str, Tensor]:
        terms = super().terms(seen, step)
        if self._enhances(step.stage):
            with record_function("losses"):
                terms["contrastive"] = self._contrastive(seen, step)
        return terms

    def _contrastive(self, seen: ClipEvidence, step: Step) -> Tensor:
        """L_con: the adapter's masked-average prototypes (B, K, D) against the class anchors [N]."""
        masks = predicted_masks(seen.logits.detach(), seen.labels)
        prototypes, _ = masked_prototypes(seen.output.projected.float(), masks)
        image, classes = seen.found.reliable.nonzero(as_tuple=True)
        temperature = self.config.assembly.enhancement_temperature
        return class_contrastive(prototypes[image, classes], self.anchors(), classes, temperature, step.total)

    def after_step(self, seen: ClipEvidence, step: Step) -> dict[str, Tensor]:
        learnt = {}
        if step.stage > 0 and self.learns:
            with record_function("inn and assembly"), torch.autocast(self.device.type, enabled=False):
                learnt = self.learn(seen, step)
        return learnt | super().after_step(seen, step)
