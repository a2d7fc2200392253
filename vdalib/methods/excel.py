"""ExCEL (CVPR 2025): patches against texts that are enriched by sentences, CAMs calibrated by the adapter's own features."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor
from torch.profiler import record_function

from vdalib.clip import DenseFeatures, FrozenCLIP
from vdalib.clip.enrichment import AttributeBank
from vdalib.config.methods import ExCELOptions
from vdalib.methods.frozen_clip import ClipEvidence, FrozenClipMethod
from vdalib.segmentation.segmenter import ClipSegmenter, Segmenter, SegmenterOutput
from vdalib.training.devices import autocast
from vdalib.training.step import Step


class DenseLayerSegmenter(ClipSegmenter):
    """A segmenter that reads the statically calibrated path as one layer more ([R] `options.dense_layer`)."""

    def forward(self, images: Tensor) -> Tensor:
        with record_function("clip"):
            features = self.clip.encode_image(images, attention=False)
        return self.trained((*features.layers, features.dense), features.grid).logits


class ExCEL(FrozenClipMethod):
    """Text semantic enrichment, static and then learnable visual calibration.

    Stages: static CAMs; calibrated by the adapter, whose affinity joins the random walk; affinity labels by the decoder.
    `clip.sentences` enriches (the bank is the method's memory), `clip.calibration: learnable` lets the adapter calibrate,
    `refine.redundancy_removal` is on in the published method. The logged `separation`, of the adapter's affinity within and
    between classes, says whether calibration has a chance: it wants more than 0.1 where the second stage begins.
    """

    Options = ExCELOptions
    stages = ("static", "learnable", "prediction")

    def read_texts(self) -> None:
        bank = AttributeBank.from_config(self.config, self.class_names, self.clip)
        if bank is None:
            warnings.warn(
                "clip.sentences: null, so ExCEL runs without its text enrichment; give a file of sentences", stacklevel=2
            )
        else:
            text = self.labeller.class_text

            def enrich(*_) -> None:
                self.labeller.class_text = bank.enriched(text, self.config.clip)

            self.memory = bank.to(self.device)
            bank.register_load_state_dict_post_hook(enrich)  # a run goes on with the bank that it began with
            enrich()

    @classmethod
    def build_network(cls, config, class_names) -> ClipSegmenter:
        if not config.options.dense_layer:
            return super().build_network(config, class_names)
        clip = FrozenCLIP.from_config(config.clip)
        segmenter = Segmenter.from_config(config.segmenter, clip.num_layers + 1, clip.token_width, len(class_names))
        return DenseLayerSegmenter(clip, segmenter)

    @property
    def stage_ends(self) -> tuple[int, int, int]:
        schedule = self.config.schedule
        joins = schedule.first_step(schedule.adapter_joins)
        late = 1.0 if schedule.prediction_joins is None else schedule.prediction_joins
        return joins, max(joins, schedule.first_step(late)), schedule.total_steps

    def look(self, images: Tensor, step: Step, model) -> tuple[DenseFeatures, SegmenterOutput]:
        if not self.config.options.dense_layer:
            return super().look(images, step, model)
        path = self.original_path(images)
        features = self.calibrated(path)
        layers = (*path.layers, features.dense)
        output = self.output(model, layers, path.grid, step)
        if self.adapter_joined(step):
            features = self.calibrated(path, output.whole)
        return replace(features, layers=layers), output

    def affinity_labels(self, seen: ClipEvidence, logits: Tensor) -> Tensor:
        static = self.config.options.affinity_target == "static" and self.adapter_joined(seen.step)
        if static and not self.prediction_joined(seen.step):
            return self._static(seen).pseudo_label
        return super().affinity_labels(seen, logits)

    @torch.no_grad()
    def _static(self, seen: ClipEvidence) -> ClipEvidence:
        """The same images as the first stage sees them."""
        step = replace(seen.step, number=0, stage=0)
        with autocast(self.device, self.config.precision):
            features = self.calibrated(self.original_path(seen.images))
        return ClipEvidence(self, seen.images, seen.labels, features, seen.output, step, seen.valid)

    def terms(self, seen: ClipEvidence, step: Step) -> dict[str, Tensor]:
        terms = super().terms(seen, step)
        seen.affinity_loss = terms["affinity"].detach()
        return terms

    def after_step(self, seen: ClipEvidence, step: Step) -> dict[str, Tensor]:
        """Also `separation`: mean affinity of pairs that should be alike less that of pairs that should not."""
        return super().after_step(seen, step) | {"separation": 1 - 2 * step.total(seen.affinity_loss)}
