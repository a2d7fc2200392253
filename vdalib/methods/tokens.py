"""What ToCo and SeCo share: a transformer trained end to end whose CAMs teach its own decoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import record_function

from vdalib.attributes.losses import Total
from vdalib.config import Config
from vdalib.methods.base import Evidence, Method
from vdalib.methods.views import ContrastViews
from vdalib.methods.vit import TokenSegmenter, VisionTransformer
from vdalib.segmentation.class_cam import pixel_labels, pooled_logits, token_labels
from vdalib.segmentation.losses import gated_crf_energy, segmentation_loss
from vdalib.training.devices import autocast
from vdalib.training.step import Step

ENERGY_SIDE, ENERGY_SIGMA_XY, ENERGY_SIGMA_RGB = 224, 50.0, 15.0  # published for pictures of 224 px
ENERGY_SCALE = 0.5e-7  # published: 1e-7, of sums over a lattice that come to half of ours, which are exact


class StepOutput(NamedTuple):
    """What one forward of a step gives.

    patches: (B, C, h, w) of the main view. logits, auxiliary_logits: (B, K), of the image.
    masks: (B, K+1, h, w), logits of the decoder, or None.
    cls: (B, V, C), class tokens of the main view and, if it was given, the second, without gradient.
    projected: (B, 2+n, D), class tokens of main view, second and n crops after the projection, or None without crops.
    """

    patches: Tensor
    logits: Tensor
    auxiliary_logits: Tensor
    masks: Tensor | None
    cls: Tensor
    projected: Tensor | None


class TokenModel(nn.Module):
    """All that is trained: the network, and the projection of class tokens that the contrast needs."""

    def __init__(self, network: TokenSegmenter, projection: nn.Module):
        super().__init__()
        self.network, self.projection = network, projection

    def forward(self, main: Tensor, second: Tensor | None, crops: Tensor | None, segment: bool) -> StepOutput:
        """main, second: (B, 3, S, S). crops: (B, n, 3, s, s), which want `second`. segment: whether masks are wanted."""
        network, batch = self.network, len(main)
        tokens = network.backbone(main if second is None else torch.cat([main, second]))
        patches, auxiliary = tokens.patches[:batch], tokens.auxiliary[:batch]
        cls, projected = tokens.cls.unflatten(0, (-1, batch)).transpose(0, 1), None  # (B, V, C)
        if crops is not None:
            local = network.backbone(crops.flatten(0, 1)).cls.unflatten(0, crops.shape[:2])  # (B, n, C)
            projected = self.projection(torch.cat([cls, local], dim=1)).float()
        return StepOutput(
            patches.float(),
            pooled_logits(patches, network.classifier.weight).float(),
            pooled_logits(auxiliary, network.auxiliary_classifier.weight).float(),
            network.decoder(patches).float() if segment else None,
            cls.detach().float(),
            projected,
        )


class TokenEvidence(Evidence):
    """seeds: CAMs (B, K, H, W) in 0..1 of the last tokens' classifier, not refined further."""

    def __init__(self, method: TokenMethod, images: Tensor, labels: Tensor, logits: Tensor, number: int):
        super().__init__(images, labels, logits)
        self.method, self.number = method, number

    @cached_property
    def _cams(self) -> tuple[Tensor, Tensor]:
        return self.method.cams(self.images, self.labels)

    @property
    def seeds(self) -> Tensor:
        return self._cams[0]

    @property
    def refined_seeds(self) -> Tensor:
        return self.seeds

    @cached_property
    def pseudo_label(self) -> Tensor:
        return self.method.target(*self._cams, self.images, self.labels, None, self.number)


class TokenMethod(Method):
    """Base of ToCo and SeCo.

    A subclass says which `decoder` and which `projection` of class tokens it has, whether its main view is `photometric`, and
    `starts`: the names of its stages and the steps from which their losses count.
    """

    photometric: bool

    def __init__(self, config: Config, class_names: tuple[str, ...], device: torch.device):
        super().__init__(config, class_names, device)
        self.options = options = config.options
        self.model = TokenModel(self.network, self.projection(options, self.network.backbone.width)).to(device)
        self.views = ContrastViews(self.photometric, options.blur)
        self.stages, self._ends = stages(self.starts(), config.schedule.total_steps)
        self.loss_weights = {
            name.removesuffix("_weight"): value for name, value in vars(options).items() if name.endswith("_weight")
        }

    @staticmethod
    def decoder(options, width: int, num_outputs: int) -> nn.Module:
        raise NotImplementedError

    @staticmethod
    def projection(options, width: int) -> nn.Module:
        raise NotImplementedError

    @classmethod
    def build_network(cls, config: Config, class_names: tuple[str, ...]) -> TokenSegmenter:
        backbone = VisionTransformer.from_config(config.backbone, config.clip)
        return TokenSegmenter(backbone, len(class_names), cls.decoder(config.options, backbone.width, len(class_names) + 1))

    def starts(self) -> dict[str, int]:
        raise NotImplementedError

    @property
    def stage_ends(self) -> tuple[int, ...]:
        return self._ends

    def parameter_groups(self) -> list[dict]:
        """The backbone, and all that is new to it, which learns `head_lr_factor` times as fast."""
        backbone = {*self.network.backbone.parameters()}
        heads = [parameter for parameter in self.model.parameters() if parameter not in backbone]
        fast = self.config.schedule.learning_rate * self.options.head_lr_factor
        return [{"params": [*self.network.backbone.parameters()]}, {"params": heads, "base_lr": fast}]

    # the parts of a step that both have

    def forward(self, model, *views, segment: bool) -> StepOutput:
        with autocast(self.device, self.config.precision), record_function("forward"):
            return model(*views, segment)

    def cams(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """CAM and auxiliary CAM (B, K, H, W) in 0..1."""
        with autocast(self.device, self.config.precision):
            return self.network.cams(images, labels, self.options.cam_scales)

    def target(self, cam: Tensor, auxiliary: Tensor, images: Tensor, labels: Tensor, valid: Tensor | None, number: int) -> Tensor:
        """What the decoder is taught in the step of this number: (B, S, S)."""
        options = self.options
        chosen = cam if number >= options.final_labels_from else auxiliary
        with record_function("par"):
            return pixel_labels(
                images,
                chosen,
                labels,
                options.high,
                options.low,
                valid,
                options.par_scale,
                self.config.refine.par_iterations,
                options.par_dilations,
            )

    def token_labels(self, auxiliary: Tensor, labels: Tensor, grid: tuple[int, int], valid: Tensor) -> Tensor:
        """Which tokens patch token contrast calls alike: (B, h, w)."""
        options = self.options
        return token_labels(auxiliary, labels, grid, options.high, options.low, valid, options.box_units)

    def classification_terms(self, output: StepOutput, labels: Tensor, step: Step) -> dict[str, Tensor]:
        return {
            "classification": classification_loss(output.logits, labels, step.total),
            "auxiliary": classification_loss(output.auxiliary_logits, labels, step.total),
        }

    def segmentation_terms(self, masks: Tensor, target: Tensor, images: Tensor, valid: Tensor, step: Step) -> dict[str, Tensor]:
        """Cross entropy with the target, and the gated energy at half size.

        The energy's reach and scale follow the picture's side, so that at the published 224 px they are as published ([R] else).
        """
        logits = F.interpolate(masks, target.shape[-2:], mode="bilinear", align_corners=False)
        half = [side // 2 for side in target.shape[-2:]]
        ratio = ENERGY_SIDE / max(half)
        with record_function("energy"):
            energy = gated_crf_energy(
                255 * F.interpolate(images, half, mode="nearest"),
                F.interpolate(logits.softmax(1), half, mode="bilinear", align_corners=False),
                _nearest(target, half).long(),
                _nearest(valid, half) > 0,
                ENERGY_SIGMA_XY / ratio,
                ENERGY_SIGMA_RGB,
                ENERGY_SCALE * ratio**4,
                step.total,
            )
        weight = self.config.schedule.background_weight
        return {"segmentation": segmentation_loss(logits, target, weight, step.total), "energy": energy}

    @torch.no_grad()
    def evidence(self, images: Tensor, labels: Tensor, step: int) -> TokenEvidence:
        self.model.eval()
        with autocast(self.device, self.config.precision):
            logits = self.network(images).float()
        return TokenEvidence(self, images, labels, logits, max(step - 1, 0))


def classification_loss(logits: Tensor, labels: Tensor, total: Total) -> Tensor:
    """Multi-label soft margin: binary cross entropy, its mean over classes, then over the images of all processes."""
    loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").mean(1)
    return loss.sum() / total(torch.tensor(float(len(loss)), device=loss.device))


@torch.no_grad()
def mean_cosine(patches: Tensor) -> Tensor:
    """(B,), the mean over pairs of an image's tokens (B, C, h, w): over-smoothing drives it to 1."""
    unit = F.normalize(patches.flatten(2), dim=1)
    count = unit.shape[2]
    return (unit.sum(2).square().sum(1) - count) / (count * (count - 1))


def require_room(name: str, size: int, count: int, crop: int, patch_size: int) -> None:
    """ValueError where `count` windows of `size` px do not have different places in the crop, or are not whole patches.

    name: the setting that says the size.
    """
    if size % patch_size:
        raise ValueError(f"options.{name}: {size} px are not whole patches of {patch_size} px")
    if max(crop - size // 2 * 2, 0) ** 2 < count:
        raise ValueError(f"options.{name}: {size} px leave no {count} places in data.crop ({crop} px); choose less")


def generators(seeds: Tensor) -> list[torch.Generator]:
    """One for each sample, of the seeds (B,) that `ContrastViews` gave them."""
    return [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]


def stages(starts: Mapping[str, int], total_steps: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of stages and the steps at which they end, from the first step of each; of those that start together the last counts.

    >>> stages({"classification": 0, "contrast": 0, "segmentation": 2001}, 20000)
    (('contrast', 'segmentation'), (2001, 20000))
    """
    named = {start: name for name, start in sorted(starts.items(), key=lambda item: item[1])}
    return tuple(named.values()), (*[*named][1:], total_steps)


def _nearest(maps: Tensor, size: list[int]) -> Tensor:
    """(B, H, W) -> (B, *size), float."""
    return F.interpolate(maps[:, None].float(), size, mode="nearest")[:, 0]
