"""From queries to class activation maps, refined by an affinity random walk, to pseudo labels."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor
from torch.profiler import record_function

from vdalib.clip.dense import block_output
from vdalib.data.images import VOID
from vdalib.segmentation.par import pixel_adaptive_refinement

BACKGROUND = 0


def class_activation(patches: Tensor, queries: Tensor, labels: Tensor) -> Tensor:
    """CAM of every class in the label: cosine of patches and query, scaled to 0..1 over the patches.

    patches: (B, D, h, w), L2-normalised. queries: (B, K, D), any length. labels: (B, K) bool.
    -> (B, K, h, w), zero for absent classes.

    Source: [N] docs/equations.md.
    """
    return _of_present(min_max(_cosines(queries, patches.flatten(2)).unflatten(2, patches.shape[2:])), labels)


def redundancy_free_activation(
    features, queries: Tensor, background_text: Tensor, labels: Tensor, scale_with_cls: bool = False
) -> Tensor:
    """As `class_activation`, after CLIP Surgery's removal of what all texts have in common.

    features: DenseFeatures. queries: (B, K, D). labels: (B, K) bool.
    background_text: (T, D), further texts to compare with.
    scale_with_cls: minimum and maximum are taken over the class token as well, as ExCEL's code does; else [R] over patches.
    -> (B, K, h, w) in 0..1, zero for absent classes.

    Source: [P] CLIP Surgery.
    """
    texts = torch.cat([queries, background_text.to(queries.dtype).expand(len(queries), -1, -1)], dim=1)  # (B, K+T, D)
    tokens = torch.cat([features.cls[:, :, None], features.patches.flatten(2)], dim=2)  # (B, D, 1+N)
    similarity = remove_redundancy(_cosines(texts, tokens))[:, : queries.shape[1], :, None]  # (B, K, 1+N, 1)
    scaled = min_max(similarity)[:, :, 1:] if scale_with_cls else min_max(similarity[:, :, 1:])
    return _of_present(scaled.squeeze(3).unflatten(2, features.grid), labels)


def remove_redundancy(similarity: Tensor) -> Tensor:
    """Texts that fit the image count more, then the mean over texts is taken away.

    similarity: (B, T, 1+N) of texts and tokens, the class token first. -> the same shape.

    Source: [P] CLIP Surgery.
    """
    probability = (2 * similarity[:, :, :1]).softmax(1)
    weighted = similarity * (probability / probability.mean(1, keepdim=True))
    return weighted - weighted.mean(1, keepdim=True)


def gradient_activation(
    visual,
    tokens: Tensor,
    class_text: Tensor,
    background_text: Tensor,
    labels: Tensor,
    scale: float,
    grid: tuple[int, int] | None = None,
    pool: str = "patches",
) -> Tensor:
    """Grad-CAM of every class in the label, from its text's share among the image's own classes and the background.

    The target is log p_y, p = softmax(scale * cos(text, f)), f the image's pooled and projected last tokens; the layer is
    what the last block's attention reads. d log p_y / d f points along t_y - sum_{k != y} q_k t_k, q the softmax over all
    texts but y, which never vanishes, however sure CLIP is. One forward pass of the last block for all images, one backward
    pass for all classes: the gradient of a shift that all patches of an image share is the sum of their gradients.

    visual: open_clip's VisionTransformer. tokens: (B, 1+N, C), as they enter its last block (`DenseFeatures.entering`).
    class_text: (K, D), or (B, K, D) for each image its own. background_text: (T, D). Unit rows. labels: (B, K) bool.
    scale: CLIP's logit scale, exponentiated.
    grid: (h, w) with h * w = N; None = square. pool: "patches" [P], or "cls" [R], as CLIP was trained.
    -> (B, K, h, w) in 0..1, at least single precision; zero for absent classes and where no patch speaks for the class.

    Source: [P] CLIP-ES, WeCLIP. The published target p_y gives the same map but for underflow.
    """
    block = visual.transformer.resblocks[-1]
    tokens, batch = precise(tokens), len(tokens)
    grid = grid or (math.isqrt(tokens.shape[1] - 1),) * 2
    order, _ = label_candidates(labels)  # (B, n)
    with torch.autocast(tokens.device.type, enabled=False), torch.enable_grad():
        shift = tokens.new_zeros(batch, 1, tokens.shape[2], requires_grad=True)
        normed = block.ln_1(tokens)
        normed = torch.cat([normed[:, :1], normed[:, 1:] + shift], dim=1)  # z
        last = visual.ln_post(block_output(block, tokens, normed)) @ visual.proj  # (B, 1+N, D)
        pooled = F.normalize(last[:, 0] if pool == "cls" else last[:, 1:].mean(1), dim=1)  # f
        direction = _away_from_others(scale, pooled.detach(), class_text, background_text, labels, order)  # (n, B, D)
        (weights,) = torch.autograd.grad(pooled, shift, direction, is_grads_batched=True)  # (n, B, 1, C)
        maps = (weights[:, :, 0].transpose(0, 1) @ normed[:, 1:].detach().transpose(1, 2)).relu()  # (B, n, N)
    maps = maps / maps.amax(2, keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)  # any scale, however small
    found = maps.new_zeros(batch, labels.shape[1], maps.shape[2])
    found.scatter_(1, order[:, :, None].expand_as(maps), maps)
    return _of_present(min_max(found.unflatten(2, grid)), labels)


def _away_from_others(scale, pooled, class_text, background_text, labels, order) -> Tensor:
    """t_y - sum_{k != y} q_k t_k for y = order[b, i], (n, B, D): d log p_y / d f but for a positive factor."""
    batch = len(pooled)
    texts = torch.cat([part.expand(batch, -1, -1) for part in (class_text, background_text)], dim=1).to(pooled.dtype)
    logits = scale * (texts @ pooled[:, :, None]).squeeze(2)  # (B, K+T)
    absent = F.pad(~labels, (0, len(background_text)))
    logits = logits.masked_fill(absent, -torch.inf)[None].repeat(order.shape[1], 1, 1)  # (n, B, K+T)
    logits.scatter_(2, order.T[:, :, None], -torch.inf)  # y itself
    own = texts.gather(1, order[:, :, None].expand(-1, -1, texts.shape[2]))  # (B, n, D)
    return (own - logits.softmax(2).transpose(0, 1) @ texts).transpose(0, 1)


def min_max(maps: Tensor, eps: float = 1e-6) -> Tensor:
    """Maps (..., h, w), each scaled to 0..1; rounding (all values within `eps`) is not blown up to 1."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp_min(eps)


def affinity_matrix(attention: Tensor, seg_affinity: Tensor | None = None, absolute: bool = False) -> Tensor:
    """Transition weights of the random walk between patches.

    attention: (A, B, N, N) >= 0, patch-to-patch attention of A blocks.
    seg_affinity: (B, N, N) in 0..1, the adapter's patch affinity; it multiplies the mean of the blocks of `gated_blocks`.
    absolute: see `gated_blocks`.
    -> (B, N, N), at least single precision.

    Source: [P] ExCEL, WeCLIP.
    """
    attention = precise(attention)
    if seg_affinity is None:
        walk = attention.mean(0)
    else:
        kept = gated_blocks(attention, seg_affinity, absolute)[:, :, None, None].to(attention.dtype)
        walk = (attention * kept).sum(0) / kept.sum(0) * seg_affinity
    for _ in range(3):
        for dim in (1, 2):  # columns, then rows
            walk = walk / walk.sum(dim, keepdim=True).clamp_min(torch.finfo(walk.dtype).tiny)
    walk = (walk + walk.transpose(1, 2)) / 2
    with torch.autocast(walk.device.type, enabled=False):
        return walk @ walk


def gated_blocks(attention: Tensor, seg_affinity: Tensor, absolute: bool = False) -> Tensor:
    """Which blocks' attention is near the adapter's affinity: (A, B) bool, at least one block an image.

    A block counts where its difference d = sum_ij (affinity - attention) is not above the blocks' mean. The sum is signed, as the
    published code has it, so that the affinity itself cancels: kept are the blocks that give patches at least the mean share of
    attention. absolute: d = sum_ij |affinity - attention|, as the papers' text has it [R].

    attention: (A, B, N, N). seg_affinity: (B, N, N).
    Source: [P] WeCLIP, ExCEL.
    """
    attention = precise(attention)
    if absolute:
        difference = (seg_affinity - attention).abs().sum((2, 3))
    else:
        difference = -attention.sum((2, 3))
    return difference <= difference.mean(0).maximum(difference.amin(0))  # rounding must not put the mean below every block


def refine_cam(cam: Tensor, affinity: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """One walk of every CAM along the affinity, starting only inside the boxes of the class.

    cam: (B, K, h, w) in 0..1. affinity: (B, N, N) with N = h * w. labels: (B, K) bool.
    threshold: share of a CAM's maximum; the boxes go round the connected regions above it, the maximum itself always among them.
    -> (B, K, h, w) >= 0, not rescaled, zero for absent classes.

    Raises ValueError if the affinity does not fit the grid.
    Source: [P] ExCEL, WeCLIP.
    """
    num_patches = cam.shape[2] * cam.shape[3]
    if affinity.shape[1:] != (num_patches, num_patches):
        expected = f"(B, {num_patches}, {num_patches}) for CAMs of {cam.shape[2]} x {cam.shape[3]}"
        raise ValueError(f"affinity: expected shape {expected}, got {tuple(affinity.shape)}")
    cam = _of_present(precise(cam), labels)
    top = cam.amax((2, 3), keepdim=True)
    start = cam * box_mask((cam > threshold * top) | (cam == top))
    with torch.autocast(cam.device.type, enabled=False):
        return (start.flatten(2) @ affinity.to(cam.dtype).transpose(1, 2)).view_as(cam)


def box_mask(regions: Tensor) -> Tensor:
    """Filled bounding boxes of the 8-connected regions of maps (..., h, w) bool; all True without a region.

    The whole batch makes one trip to the host.
    Source: [P] ExCEL, WeCLIP.
    """
    planes = regions.flatten(0, -3).cpu().numpy()  # (maps, h, w)
    within_plane = np.zeros((3, 3, 3), bool)
    within_plane[1] = True
    numbered, _ = ndimage.label(planes, within_plane)
    boxes = np.broadcast_to(~planes.any((1, 2), keepdims=True), planes.shape).copy()
    for box in ndimage.find_objects(numbered):
        boxes[box] = True
    return torch.from_numpy(boxes).to(regions.device).view_as(regions)


def pseudo_label(refined: Tensor, labels: Tensor, images: Tensor, valid: Tensor | None, config) -> Tensor:
    """Label maps from refined CAMs: background = 1 - strongest class, PAR, best of the image's candidates.

    Where `background_cut` c is not one half, background is (1 - strongest) c / (1 - c), which ties with a CAM of c ([R] ours: how
    high a CAM stands on background depends on the CLIP).

    refined: (B, K, h, w). labels: (B, K) bool. images: (B, 3, H, W) in 0..1.
    valid: (B, H, W) bool, False becomes 255; None = all valid.
    config: RefineConfig (background_cut, par_iterations; ignore_margin in shares of the summed scores).
    -> (B, H, W) int64: 0 background, 1..K, 255 void.

    Source: [P] ExCEL, WeCLIP; `ignore_margin` [R] ours.
    """
    scores, classes = _candidate_scores(precise(refined), labels, images.shape[-2:])
    scores[:, 0] *= config.background_cut / (1 - config.background_cut)
    with record_function("par"):
        scores = pixel_adaptive_refinement(images, scores, config.par_iterations)
    best = scores.max(1, keepdim=True).indices  # (B, 1, H, W); argmax is many times slower along channels
    target = classes.gather(1, best.flatten(1)).view_as(best).squeeze(1)
    if config.ignore_margin > 0:
        first, second = (scores / scores.sum(1, keepdim=True)).topk(2, dim=1).values.unbind(1)
        target = target.masked_fill(first - second < config.ignore_margin, VOID)
    return target if valid is None else target.masked_fill(~valid, VOID)


def label_candidates(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each image's classes first: indices (B, n) and which of them it has (B, n), n the most that an image has, at least 1.

    labels: (B, K) bool.
    """
    most = max(1, int(labels.sum(1).max()))
    order = labels.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return order, labels.gather(1, order)


def _candidate_scores(refined: Tensor, labels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Scores (B, 1+n, H, W) in 0..1 of background and the image's classes, and their classes (B, 1+n) int64.

    CAMs are scaled at the grid, then resized: at the image's size their peaks are a little below 1.
    n is the largest number of classes in an image. Images with fewer are filled up with VOID of score 0,
    which stays 0 under PAR and never beats background.
    """
    order, present = label_candidates(labels)
    chosen = refined.gather(1, order[:, :, None, None].expand(-1, -1, *refined.shape[2:]))
    scores = _of_present(min_max(chosen), present)
    scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)
    classes = F.pad((order + 1).masked_fill(~present, VOID), (1, 0), value=BACKGROUND)
    return torch.cat([1 - scores.amax(1, keepdim=True), scores], dim=1), classes


def _cosines(texts: Tensor, tokens: Tensor) -> Tensor:
    """(B, T, D) and (B, D, N), already of unit length -> (B, T, N)."""
    tokens = precise(tokens)
    with torch.autocast(tokens.device.type, enabled=False):
        return F.normalize(texts.to(tokens.dtype), dim=-1) @ tokens


def _of_present(maps: Tensor, labels: Tensor) -> Tensor:
    return maps * labels[:, :, None, None]


def precise(values: Tensor) -> Tensor:
    """At least single precision, also where autocast made the values."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
