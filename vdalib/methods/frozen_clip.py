"""What methods on a frozen CLIP share: queries find a class's pixels, the refined seeds teach adapter and decoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import record_function

from vdalib.clip import DenseFeatures, FrozenCLIP, OriginalPath
from vdalib.config import Config
from vdalib.data.images import VOID
from vdalib.methods.base import Evidence, Method
from vdalib.segmentation import cam
from vdalib.segmentation.labelling import ImagePrototypes, PseudoLabeller
from vdalib.segmentation.losses import affinity_loss, segmentation_loss
from vdalib.segmentation.segmenter import ClipSegmenter, Segmenter, SegmenterOutput, patch_affinity
from vdalib.training.devices import autocast
from vdalib.training.step import Step


class ClipEvidence(Evidence):
    """features: CLIP's DenseFeatures. embedding: (B, E, h, w) of the adapter. step: the moment. valid: (B, H, W) or None.

    Queries are (B, K, D): `text_queries` are the text prototypes, `queries` the method's own.
    """

    def __init__(
        self, method: FrozenClipMethod, images, labels, features: DenseFeatures, output: SegmenterOutput, step: Step, valid=None
    ):
        super().__init__(images, labels, output.logits.float())
        self.method, self.features, self.output, self.step, self.valid = method, features, output, step, valid
        self.embedding = output.embedding.float()

    @cached_property
    @torch.no_grad()
    def found(self) -> ImagePrototypes:
        """The image's class prototypes and which of them are reliable."""
        with record_function("inn and assembly"):
            return self.method.labeller.prototypes(self.features, self.logits, self.labels)

    @property
    def text_queries(self) -> Tensor:
        return self.method.labeller.class_text.expand(len(self.labels), -1, -1)

    @cached_property
    @torch.no_grad()
    def queries(self) -> Tensor:
        return self.method.queries(self)

    @cached_property
    def text_seeds(self) -> Tensor:
        return self.seeds_of(self.text_queries)

    @cached_property
    @torch.no_grad()
    def seeds(self) -> Tensor:
        return self.method.seeds(self)

    @cached_property
    def refined_text_seeds(self) -> Tensor:
        return self.refined_of(self.text_seeds)

    @cached_property
    def refined_seeds(self) -> Tensor:
        return self.refined_of(self.seeds)

    @cached_property
    def pseudo_label(self) -> Tensor:
        """What the segmenter is taught here: (B, H, W)."""
        return self._pseudo_label(self.seeds)

    @torch.no_grad()
    def seeds_of(self, queries: Tensor) -> Tensor:
        """Seeds of any queries (B, K, D)."""
        with record_function("cam and affinity"):
            return self.method.activation(self, queries)

    def pseudo_label_of(self, queries: Tensor) -> Tensor:
        """Pseudo labels (B, H, W) of any queries (B, K, D)."""
        return self._pseudo_label(self.seeds_of(queries))

    @torch.no_grad()
    def refined_of(self, seeds: Tensor) -> Tensor:
        """Seeds after the random walk, scaled to 0..1 again; the same seeds where the run does not walk."""
        return cam.min_max(self.method.refined(self, seeds))

    @torch.no_grad()
    def _pseudo_label(self, seeds: Tensor) -> Tensor:
        with record_function("cam and affinity"):
            refined = self.method.refined(self, seeds)
            return cam.pseudo_label(refined, self.labels, self.images, self.valid, self.method.config.refine)


class FrozenClipMethod(Method):
    """A segmenter on a frozen CLIP, taught by the pseudo labels of its queries; by itself the queries are the text prototypes.

    What a method of one's own may say otherwise: `read_texts`, `look`, `queries`, or `activation`, `seeds` and `refined`,
    `affinity` and `affinity_labels`, or `terms` (the losses), `after_step`.

    clip, labeller: the frozen CLIP; text prototypes, and from queries to pseudo labels.
    assembler:      where queries are assembled from a mixture, else None.
    """

    stages = ("segmenter",)
    assembler = None

    def __init__(self, config: Config, class_names: tuple[str, ...], device: torch.device):
        super().__init__(config, class_names, device)
        self.clip: FrozenCLIP = self.network.clip
        self.labeller = PseudoLabeller(self.clip, class_names, config)
        self.read_texts()
        self.clip.drop_text()
        self.loss_weights = {"affinity": config.schedule.affinity_weight}

    @classmethod
    def build_network(cls, config: Config, class_names: tuple[str, ...]) -> ClipSegmenter:
        clip = FrozenCLIP.from_config(config.clip)
        return ClipSegmenter(clip, Segmenter.from_config(config.segmenter, clip.num_layers, clip.token_width, len(class_names)))

    @property
    def segmenter(self) -> Segmenter:
        return self.network.trained

    def share(self, index: int, count: int) -> None:
        self.segmenter.adapter.dropout.share = (index, count)

    # what a method may say otherwise

    def read_texts(self) -> None:
        """What else wants the text tower, before it is freed."""

    def look(self, images: Tensor, step: Step, model) -> tuple[DenseFeatures, SegmenterOutput]:
        """What CLIP sees in images, as it is calibrated at this step, and what the model, wrapped or not, makes of its layers.

        The adapter runs once: what trains, with dropout, calibrates without.
        """
        path = self.original_path(images)
        output = self.output(model, path.layers, path.grid, step)
        return self.calibrated(path, output.whole if self.adapter_joined(step) else None), output

    def queries(self, seen: ClipEvidence) -> Tensor:
        """(B, K, D), of any length."""
        return seen.text_queries

    def activation(self, seen: ClipEvidence, queries: Tensor) -> Tensor:
        """CAMs of queries (B, K, D) for the classes in the label, (B, K, h, w) in 0..1."""
        return self.labeller.activation(seen.features, queries, seen.labels)

    def seeds(self, seen: ClipEvidence) -> Tensor:
        """(B, K, h, w) in 0..1."""
        return seen.seeds_of(seen.queries)

    def refined(self, seen: ClipEvidence, seeds: Tensor) -> Tensor:
        """Seeds after the random walk, with the adapter's own affinity, without dropout, once it has joined."""
        embedding = seen.output.whole.detach() if self.adapter_joined(seen.step) else None
        return self.labeller.refined(seen.features, seeds, seen.labels, embedding)

    def output(self, model, layers: Sequence[Tensor], grid: tuple[int, int], step: Step) -> SegmenterOutput:
        """What the model, wrapped or not, makes of CLIP's layers."""
        return model(layers, grid)

    def affinity(self, embedding: Tensor) -> Tensor:
        """How alike patches are to the adapter, (B, E, h, w) -> (B, N, N) in 0..1."""
        return patch_affinity(embedding)

    def affinity_labels(self, seen: ClipEvidence, logits: Tensor) -> Tensor:
        """Which patches should be alike, label maps (B, H, W): the pseudo labels, late in the schedule the prediction [P].

        logits: the decoder's, (B, K+1, H, W).
        """
        if not self.prediction_joined(seen.step):
            return seen.pseudo_label
        predicted = logits.max(1).indices
        return predicted if seen.valid is None else predicted.masked_fill(~seen.valid, VOID)

    def terms(self, seen: ClipEvidence, step: Step) -> dict[str, Tensor]:
        """The losses of a step: cross entropy with the pseudo labels, and affinity between patches."""
        target = seen.pseudo_label
        with record_function("losses"):
            logits = F.interpolate(seen.logits, target.shape[-2:], mode="bilinear", align_corners=False)
            alike = self.affinity_labels(seen, logits.detach())
            at_grid = F.interpolate(alike[:, None].float(), seen.features.grid, mode="nearest")[:, 0].long()
            return {
                "segmentation": segmentation_loss(logits, target, self.config.schedule.background_weight, step.total),
                "affinity": affinity_loss(self.affinity(seen.embedding), at_grid, total=step.total),
            }

    def adapter_joined(self, step: Step) -> bool:
        """Whether the adapter has learnt enough to calibrate CLIP's features and to steer the random walk [P]."""
        return step.share >= self.config.schedule.adapter_joins

    def prediction_joined(self, step: Step) -> bool:
        """Whether the affinity loss takes its labels from the decoder's prediction [P]."""
        joins = self.config.schedule.prediction_joins
        return joins is not None and step.share >= joins

    # what trainer and evaluation ask

    def loss_terms(self, batch: dict[str, Tensor], step: Step) -> tuple[dict[str, Tensor], ClipEvidence]:
        seen = self._look(batch["images"], batch["labels"], step, step.model, batch["valid"])
        return self.terms(seen, step), seen

    def after_step(self, seen: ClipEvidence, step: Step) -> dict[str, Tensor]:
        """The shares of prototypes that are reliable and of named classes that are predicted."""
        counts = torch.stack([seen.found.reliable.sum(), seen.found.present.sum(), seen.labels.sum()])
        reliable, present, named = step.total(counts)
        return {"reliable": reliable / present.clamp_min(1), "predicted": present / named.clamp_min(1)}

    @torch.no_grad()
    def evidence(self, images: Tensor, labels: Tensor, step: int) -> ClipEvidence:
        last = max(step - 1, 0)
        moment = Step(last, self.config.schedule.total_steps, self.stage(last))
        self.model.eval()
        return self._look(images, labels, moment, self.model)

    def _look(self, images: Tensor, labels: Tensor, step: Step, model, valid: Tensor | None = None) -> ClipEvidence:
        with autocast(self.device, self.config.precision):
            features, output = self.look(images, step, model)
        return ClipEvidence(self, images, labels, features, output, step, valid)

    def original_path(self, images: Tensor) -> OriginalPath:
        with record_function("clip"):
            return self.clip.original_path(images, attention=self.config.refine.random_walk)

    def calibrated(self, path: OriginalPath, embedding: Tensor | None = None) -> DenseFeatures:
        with record_function("clip"):
            return self.clip.calibrated(path, embedding)
