"""Dense features of a CLIP vision transformer: one pass, original and calibrated path side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CALIBRATIONS = ("none", "value", "static", "learnable")
RESIZINGS = {"bicubic": {"mode": "bicubic", "antialias": True}, "bilinear": {"mode": "bilinear"}}

Embed = Callable[[tuple[Tensor, ...], tuple[int, int]], Tensor]


@dataclass
class DenseFeatures:
    """What CLIP says about images, patch by patch: N = h * w patches, row by row, without the class token.

    patches: (B, D, h, w) in the joint space, L2-normalised over D.
    cls: (B, D) class token in the joint space, L2-normalised; always from the original path.
    layers: L tensors (B, N, C), patch tokens of the original path after each block.
    attention: (A, B, N, N) patch-to-patch attention of the last A blocks, original path, mean over heads;
        a row sums to one less its share for the class token. None where not asked for.
    grid: (h, w).
    entering: (B, 1+N, C), all tokens as they enter the last block, class token first.
    dense: (B, N, C), the path that `patches` come from, before the projection into the joint space.
    """

    patches: Tensor
    cls: Tensor
    layers: tuple[Tensor, ...]
    attention: Tensor | None
    grid: tuple[int, int]
    entering: Tensor | None = None
    dense: Tensor | None = None


@dataclass
class OriginalPath:
    """A pass through the tower as it is, and what its calibrated path starts from.

    tokens: (B, 1+N, C) after the last block.
    start: (B, N, C), patches as they enter the first calibrated block, or leave the last where none is.
    calibrated: each calibrated block with its q, k, v (B, heads, 1+N, C / heads). The rest as in DenseFeatures.
    """

    layers: tuple[Tensor, ...]
    attention: Tensor | None
    grid: tuple[int, int]
    entering: Tensor
    tokens: Tensor
    start: Tensor
    calibrated: list[tuple[nn.Module, Tensor, Tensor, Tensor]]


def dense_forward(
    visual: nn.Module,
    images: Tensor,
    *,
    calibration: str = "static",
    calibrated_blocks: int = 5,
    share_heads: bool = False,
    affinity_blocks: int = 0,
    position_resize: str = "bicubic",
    embed: Embed | None = None,
) -> DenseFeatures:
    """Dense features of an open_clip VisionTransformer; differentiable, one pass.

    images: (B, 3, H, W), normalised as the tower expects; H and W multiples of the patch size.
    calibration: where `patches` come from.
        "none": the tower's own patch tokens.
        "value": the last block's values in place of its attention (MaskCLIP), without its MLP ([R]).
        "static": in the last `calibrated_blocks` blocks, mean of softmax(qq'), softmax(kk') and softmax(vv'),
            summed up beside the original path and without MLPs (CLIP Surgery).
        "learnable": static plus `adapter_attention(embed(layers, grid))` between patches, per head;
            without `embed` the same as static.
    share_heads: all heads use the sum of their calibrated attentions (as ExCEL's code does).
    affinity_blocks: number of last blocks whose attention is returned; 0 for none.
    position_resize: see `position_embedding`.
    embed: (layers, grid) -> (B, E, h, w) adapter features.

    Raises ValueError for a tower, size or option that it cannot serve.
    Source: [P] CLIP Surgery, ExCEL, MaskCLIP.
    """
    path = original_path(visual, images, calibration, calibrated_blocks, affinity_blocks, position_resize)
    wanted = calibration == "learnable" and embed is not None
    return calibrated_features(visual, path, calibration, share_heads, embed(path.layers, path.grid) if wanted else None)


def original_path(
    visual: nn.Module,
    images: Tensor,
    calibration: str = "static",
    calibrated_blocks: int = 5,
    affinity_blocks: int = 0,
    position_resize: str = "bicubic",
) -> OriginalPath:
    """The first half of `dense_forward`, which the adapter's features are made of."""
    require_supported(visual)
    blocks = visual.transformer.resblocks
    require_options(len(blocks), calibration, calibrated_blocks, affinity_blocks, position_resize)
    grid = patch_grid(visual, images)
    first_calibrated = len(blocks) - {"none": 0, "value": 1}.get(calibration, calibrated_blocks)

    tokens = _embed_patches(visual, images, grid, position_resize)  # (B, 1+N, C)
    layers, attention, calibrated = [], [], []
    for i, block in enumerate(blocks):
        entering = tokens
        q, k, v = _query_key_value(block, block.ln_1(tokens))
        if i == first_calibrated:
            start = tokens[:, 1:]
        if i >= first_calibrated:
            calibrated.append((block, q, k, v))
        if i >= len(blocks) - affinity_blocks:
            weights = _softmax_attention(q, k)
            attention.append(weights[:, :, 1:, 1:].mean(1))
            mixed = weights @ v
        else:
            mixed = _attend(q, k, v)
        tokens = tokens + _project_heads(block, mixed)
        tokens = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
        layers.append(tokens[:, 1:])

    return OriginalPath(
        layers=tuple(layers),
        attention=torch.stack(attention) if attention else None,
        grid=grid,
        entering=entering,
        tokens=tokens,
        start=tokens[:, 1:] if calibration == "none" else start,
        calibrated=calibrated,
    )


def calibrated_features(
    visual: nn.Module,
    path: OriginalPath,
    calibration: str = "static",
    share_heads: bool = False,
    embedding: Tensor | None = None,
) -> DenseFeatures:
    """The second half of `dense_forward`, of its path; embedding: (B, E, h, w), what `embed` would give."""
    extra, dense = None, path.start
    if calibration == "learnable" and embedding is not None:
        embedding = embedding.to(path.calibrated[0][1].dtype)  # accelerate makes single precision of what autocast halved
        extra = adapter_attention(_checked_embedding(embedding, len(dense), path.grid))
    for block, q, k, v in path.calibrated:
        mixed = v[:, :, 1:] if calibration == "value" else _calibrated_values(q, k, v, extra, share_heads)
        dense = dense + _project_heads(block, mixed)

    return DenseFeatures(
        patches=_to_joint_space(visual, dense).transpose(1, 2).unflatten(2, path.grid),
        cls=_to_joint_space(visual, path.tokens[:, 0]),
        layers=path.layers,
        attention=path.attention,
        grid=path.grid,
        entering=path.entering,
        dense=dense,
    )


def block_output(block: nn.Module, tokens: Tensor, normed: Tensor) -> Tensor:
    """(B, 1+N, C) after a block that `tokens` enter; `normed` = ln_1(tokens) is what its attention reads."""
    tokens = tokens + _project_heads(block, _attend(*_query_key_value(block, normed)))
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


def adapter_attention(embedding: Tensor, sharpness: float = 3.0) -> Tensor:
    """(B, E, h, w) -> (B, N, N): softmax of sharpness * (cos - mean cos) over the patches not below the mean.

    The mean is taken per image, so that an image's features never depend on its neighbours in the batch.
    A patch always attends to itself: its cosine of one is below the mean by rounding only, which must not
    empty a row.
    Source: [P] ExCEL's learnable calibration.
    """
    features = F.normalize(embedding.flatten(2), dim=1)  # (B, E, N)
    similarity = features.transpose(1, 2) @ features
    similarity = sharpness * (similarity - similarity.mean((1, 2), keepdim=True))
    itself = torch.eye(similarity.shape[-1], dtype=torch.bool, device=similarity.device)
    return similarity.masked_fill((similarity < 0) & ~itself, -torch.inf).softmax(-1)


def unit_vectors(features: Tensor) -> Tensor:
    """L2-normalised over the last dimension, in single precision at least (autocast makes half of it)."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def patch_grid(visual: nn.Module, images: Tensor) -> tuple[int, int]:
    """(h, w) of the images' patches; ValueError if the shape or size does not fit the tower."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images: expected shape (B, 3, H, W), got {tuple(images.shape)}")
    (height, width), (patch_height, patch_width) = images.shape[2:], visual.patch_size
    if height % patch_height or width % patch_width or not height or not width:
        raise ValueError(
            f"images: height and width must be multiples of the patch size {patch_height} x {patch_width}, "
            f"got {height} x {width}; resize or pad them"
        )
    return height // patch_height, width // patch_width


def require_supported(visual: nn.Module) -> None:
    """ValueError unless `visual` is an open_clip VisionTransformer with a class token and plain attention."""
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    reason = None
    if not isinstance(visual, VisionTransformer):
        reason = f"it is a {type(visual).__name__}"
    elif visual.attn_pool is not None:
        reason = "it pools by attention (attentional_pool)"
    elif visual.pool_type != "tok":
        reason = f"it has no class token output (pool_type '{visual.pool_type}')"
    else:
        kinds = {type(block) for block in visual.transformer.resblocks}
        if kinds != {ResidualAttentionBlock}:
            reason = f"its blocks are {', '.join(sorted(kind.__name__ for kind in kinds))}"
    if reason:
        raise ValueError(
            "clip.model: expected an open_clip VisionTransformer with a class token and plain attention, "
            f"but {reason}; choose a model such as ViT-B-16-quickgelu, ViT-B-32 or ViT-L-14"
        )


def require_options(
    num_layers: int, calibration: str, calibrated_blocks: int, affinity_blocks: int, position_resize: str
) -> None:
    """ValueError unless a tower of `num_layers` blocks can serve the options of `dense_forward`."""
    if calibration not in CALIBRATIONS:
        raise ValueError(f"calibration: expected one of {', '.join(CALIBRATIONS)}, got '{calibration}'")
    if calibration in ("static", "learnable") and not 1 <= calibrated_blocks <= num_layers:
        raise ValueError(f"clip.calibrated_blocks: expected 1 to {num_layers} (the tower's blocks), got {calibrated_blocks}")
    if not 0 <= affinity_blocks <= num_layers:
        raise ValueError(f"clip.affinity_blocks: expected 0 to {num_layers} (the tower's blocks), got {affinity_blocks}")
    if position_resize not in RESIZINGS:
        raise ValueError(f"position_resize: expected one of {', '.join(RESIZINGS)}, got '{position_resize}'")


def _checked_embedding(embedding: Tensor, batch: int, grid: tuple[int, int]) -> Tensor:
    if embedding.ndim != 4 or (embedding.shape[0], *embedding.shape[2:]) != (batch, *grid):
        expected = f"({batch}, E, {grid[0]}, {grid[1]})"
        raise ValueError(f"embed: expected features of shape {expected}, got {tuple(embedding.shape)}")
    return embedding


def _embed_patches(visual: nn.Module, images: Tensor, grid: tuple[int, int], position_resize: str) -> Tensor:
    """Tokens before the first block, (B, 1+N, C); patch dropout is left out, since every patch is wanted."""
    patches = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, N, C)
    cls = visual.class_embedding.expand(images.shape[0], 1, -1)
    position = position_embedding(visual.positional_embedding, tuple(visual.grid_size), grid, position_resize)
    return visual.ln_pre(torch.cat([cls, patches], dim=1) + position)


def position_embedding(position: Tensor, native: tuple[int, int], grid: tuple[int, int], resize: str = "bicubic") -> Tensor:
    """(1+n, C) for the native grid -> (1+N, C) for `grid`; the class token's is kept.

    resize: "bicubic" with antialias, as open_clip does when it loads weights [R], or "bilinear" without, as ExCEL and WeCLIP [P].
    """
    if grid == native:
        return position
    image = position[1:].T.unflatten(1, native)[None]  # (1, C, h, w)
    image = F.interpolate(image, grid, align_corners=False, **RESIZINGS[resize])
    return torch.cat([position[:1], image[0].flatten(1).T])


def _query_key_value(block: nn.Module, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three tensors (B, heads, 1+N, C / heads) of ln_1's output (B, 1+N, C)."""
    attn = block.attn
    qkv = F.linear(normed, attn.in_proj_weight, attn.in_proj_bias)  # (B, 1+N, 3C)
    return qkv.unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention; written out where gradients are wanted: the fused kernel's backward pass is three times slower on a CPU."""
    if torch.is_grad_enabled() and q.requires_grad:
        return _softmax_attention(q, k) @ v
    return F.scaled_dot_product_attention(q, k, v)


def _softmax_attention(q: Tensor, k: Tensor) -> Tensor:
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1)


def _calibrated_values(q: Tensor, k: Tensor, v: Tensor, extra: Tensor | None, share_heads: bool) -> Tensor:
    """Patches after calibrated attention to patches and class token, (B, heads, N, C / heads)."""
    if share_heads:
        weights = sum(_softmax_attention(u[:, :, 1:], u) for u in (q, k, v)) / 3  # (B, heads, N, 1+N)
        mixed = weights.sum(1, keepdim=True) @ v
    else:
        mixed = sum(_attend(u[:, :, 1:], u, v) for u in (q, k, v)) / 3
    if extra is not None:
        times = v.shape[1] if share_heads else 1
        mixed = mixed + times * extra[:, None].to(v.dtype) @ v[:, :, 1:]
    return mixed


def _project_heads(block: nn.Module, mixed: Tensor) -> Tensor:
    return block.ls_1(block.attn.out_proj(mixed.transpose(1, 2).flatten(2)))


def _to_joint_space(visual: nn.Module, tokens: Tensor) -> Tensor:
    """(..., C) -> (..., D), L2-normalised."""
    return unit_vectors(visual.ln_post(tokens) @ visual.proj)
