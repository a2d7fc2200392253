"""WeCLIP (CVPR 2024): Grad-CAM from text scores, refined along attention maps that the adapter's affinity chooses among."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vdalib.clip import FrozenCLIP
from vdalib.config.methods import WeCLIPOptions
from vdalib.methods.frozen_clip import ClipEvidence, FrozenClipMethod
from vdalib.segmentation import cam
from vdalib.segmentation.segmenter import ClipSegmenter, Segmenter, SegmenterOutput, patch_affinity
from vdalib.training.step import Step


class WeCLIP(FrozenClipMethod):
    """Stages: the mean of the last attention maps; the refinement module (RFM) [P].

    The adapter reads all layers but the last, whose block belongs to Grad-CAM. `clip.calibration` is "none" in the published
    method, `refine.adapter_affinity: false` leaves the refinement module out. The affinity that refines labels is taken
    without dropout [R], the one that is trained with it.
    """

    Options = WeCLIPOptions
    stages = ("attention", "refinement")

    def __init__(self, config, class_names, device):
        super().__init__(config, class_names, device)
        needed = max(config.options.plain_blocks, config.options.gated_blocks)
        if config.refine.random_walk and config.clip.affinity_blocks < needed:
            raise ValueError(
                f"clip.affinity_blocks: found {config.clip.affinity_blocks}, "
                f"expected the {needed} of options.plain_blocks and options.gated_blocks"
            )

    @classmethod
    def build_network(cls, config, class_names) -> ClipSegmenter:
        clip = FrozenCLIP.from_config(config.clip)
        return ClipSegmenter(
            clip, Segmenter.from_config(config.segmenter, clip.num_layers - 1, clip.token_width, len(class_names))
        )

    @property
    def stage_ends(self) -> tuple[int, int]:
        schedule = self.config.schedule
        return schedule.first_step(schedule.adapter_joins), schedule.total_steps

    def output(self, model, layers: Sequence[Tensor], grid: tuple[int, int], step: Step) -> SegmenterOutput:
        return model(layers[:-1], grid)

    def affinity(self, embedding: Tensor) -> Tensor:
        return patch_affinity(embedding, raw=True)

    def activation(self, seen: ClipEvidence, queries: Tensor) -> Tensor:
        return cam.gradient_activation(
            self.clip.model.visual,
            seen.features.entering,
            queries,
            self.labeller.background_text,
            seen.labels,
            self.clip.logit_scale,
            seen.features.grid,
            self.config.options.pool,
        )

    def refined(self, seen: ClipEvidence, seeds: Tensor) -> Tensor:
        """Seeds after the random walk; from the second stage on along the attention maps that the adapter chooses."""
        options, settings = self.config.options, self.config.refine
        if not settings.random_walk:
            return seeds
        if self.adapter_joined(seen.step) and settings.adapter_affinity:
            maps = seen.features.attention[-options.gated_blocks :]
            walk = cam.affinity_matrix(maps, self.affinity(seen.output.whole.detach()), options.absolute)
        else:
            walk = cam.affinity_matrix(seen.features.attention[-options.plain_blocks :])
        return cam.refine_cam(seeds, walk, seen.labels, settings.affinity_threshold)
