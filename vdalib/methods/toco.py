"""ToCo, token contrast (Ru et al., CVPR 2023): a vision transformer learns CAMs, tokens that differ, and masks, in one stage.

What it does in a step is `ToCo.loss_terms`; its own parts are below, those that it shares with SeCo in `tokens`.
"""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdalib.attributes.losses import Total, whole
from vdalib.config.methods import TocoOptions
from vdalib.data.images import VOID
from vdalib.methods.parts import LargeFOV, ProjectionHead, crops, draw_places, momentum_update
from vdalib.methods.tokens import TokenMethod, generators, mean_cosine, require_room
from vdalib.segmentation.losses import token_contrast
from vdalib.training.step import Step

TEACHER_MOMENTUM = 0.9
UNCERTAIN_SHARE = 0.2  # of a local crop's area; up to it a crop is background


class ToCo(TokenMethod):
    """Patch token contrast against flat CAMs, class token contrast against missed objects, one network and one stage.

    memory: the teacher, a slow copy of the projection; encoder and class tokens are the student's.
    Source: [P] ToCo; each slip of the published code that is not an option is mended.
    """

    Options = TocoOptions

    photometric = True

    def __init__(self, config, class_names, device):
        super().__init__(config, class_names, device)
        require_room("local_size", self.options.local_size, self.options.local_crops, config.data.crop, self.network.patch_size)
        self.memory = deepcopy(self.model.projection).requires_grad_(False)

    @staticmethod
    def decoder(options: TocoOptions, width: int, num_outputs: int) -> nn.Module:
        return LargeFOV(width, num_outputs, options.decoder_width, options.decoder_dilation)

    @staticmethod
    def projection(options: TocoOptions, width: int) -> nn.Module:
        return ProjectionHead(width, *options.projection)

    def starts(self) -> dict[str, int]:
        return {
            "classification": 0,
            "contrast": self.options.contrast_from,
            "segmentation": self.options.segmentation_from,
        }

    def loss_terms(self, batch: dict[str, Tensor], step: Step) -> tuple[dict[str, Tensor], Tensor]:
        options, images, labels, valid = self.options, batch["main"], batch["labels"], batch["valid"]
        contrast, segment = step.number >= options.contrast_from, step.number >= options.segmentation_from
        second = local = None

        # Where the classes are, as the weights stand; small crops from where that is undecided or background.
        if contrast or segment:
            cam, auxiliary = self.cams(images, labels)
        if contrast:
            second = batch["second"]
            local, flags = self.local_crops(auxiliary, batch)

        # One forward of all views, and the image-level losses.
        output = self.forward(step.model, images, second, local, segment=segment)
        terms = self.classification_terms(output, labels, step)

        # Tokens to which the auxiliary CAM gives one label should be alike; views of an image that show something should agree.
        if contrast:
            marks = self.token_labels(auxiliary, labels, output.patches.shape[2:], valid)
            terms["patch_contrast"] = token_contrast(output.patches, marks, step.total)
            with torch.no_grad():
                teacher = self.memory(output.cls)
            terms["class_contrast"] = class_token_contrast(
                output.projected, teacher, flags, options.temperature, options.extra_zero_positive, step.total
            )

        # The CAM, refined along the picture's own colours, teaches the decoder.
        if segment:
            target = self.target(cam, auxiliary, images, labels, valid, step.number)
            terms |= self.segmentation_terms(output.masks, target, images, valid, step)
        return terms, mean_cosine(output.patches)

    def local_crops(self, auxiliary: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Crops (B, n, 3, s, s) of the local source, and which of whole views and crops are positives, (B, 2+n)."""
        count, size = self.options.local_crops, self.options.local_size
        regions = region_mask(auxiliary, batch["labels"], self.options.high, self.options.low, batch["valid"])
        cut, flags = [], []
        for source, region, generator in zip(batch["source"], regions, generators(batch["seed"])):
            places = draw_places(region <= 1, region != VOID, count, size // 2, generator)
            cut.append(crops(source, places, size))
            flags.append(crop_flags(region, places, size))
        return torch.stack(cut), F.pad(torch.stack(flags), (2, 0), value=True)

    def after_step(self, seen: Tensor, step: Step) -> dict[str, Tensor]:
        momentum_update(self.memory, self.model.projection, TEACHER_MOMENTUM)
        return {"token_cosine": step.gather(seen).mean()}


def region_mask(cams: Tensor, labels: Tensor, high: float, low: float, valid: Tensor | None = None) -> Tensor:
    """Where local crops may come from: 0 background, 1 uncertain, 2 a class; 255 outside the picture, (B, S, S) int64.

    cams: (B, K, S, S) in 0..1. labels: (B, K) bool. valid: (B, S, S) bool.
    """
    strength = (cams * labels[:, :, None, None]).amax(1)
    regions = (strength > low).long() + (strength >= high).long()
    return regions if valid is None else regions.masked_fill(~valid, 255)


def crop_flags(regions: Tensor, places: Tensor, size: int) -> Tensor:
    """Which crops show something, (n,) bool: an uncertain pixel counts once, one of a class twice, and they fill over a fifth.

    regions: (S, S) of `region_mask`. places: (n, 2), the crops' centres.
    """
    counted = crops(regions.masked_fill(regions == VOID, 0), places, size).flatten(1)
    return counted.sum(1) / size**2 > UNCERTAIN_SHARE


def class_token_contrast(
    student: Tensor, teacher: Tensor, flags: Tensor, temperature: float, extra_zero_positive: bool = True, total: Total = whole
) -> Tensor:
    """Class token contrast: views of an image that show something agree with the whole image, background crops do not.

    For image i and teacher view t, e_j = exp(<z_t, q_j> / temperature) and E = sum of e_j over negatives,

        L_i = 1/(|P| + 1e-4) mean_t [ sum_{j in P} -log(e_j / (e_j + E + 1e-4)) + log(1 + E + 1e-4) ],  L = mean_i L_i.

    The last term is that of a further positive of logit 0: published, a slip; `extra_zero_positive` False leaves it out.

    student: (B, J, D) and teacher: (B, T, D), projected class tokens; no gradient goes to the teacher's.
    flags: (B, J) bool, True for positives.
    """
    logits = torch.einsum("btd,bjd->btj", teacher.detach(), student) / temperature
    others = logits.masked_fill(flags[:, None], -torch.inf)
    eps = torch.full_like(others[:, :, :1], 1e-4).log()
    repelled = torch.cat([others, eps], dim=2).logsumexp(2, keepdim=True)  # log(E + 1e-4)
    terms = ((torch.logaddexp(logits, repelled) - logits) * flags[:, None]).sum(2)  # (B, T)
    if extra_zero_positive:
        terms = terms + torch.logaddexp(torch.zeros_like(repelled), repelled)[:, :, 0]
    images = terms.mean(1) / (flags.sum(1) + 1e-4)
    return images.sum() / total(torch.tensor(float(len(images)), device=images.device))
