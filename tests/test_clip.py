"""Dense CLIP features against open_clip's own outputs and against slow literal loops."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

open_clip = pytest.importorskip("open_clip")
from open_clip.model import resize_pos_embed  # noqa: E402
from open_clip.modified_resnet import ModifiedResNet  # noqa: E402
from open_clip.transformer import QuickGELU, VisionTransformer  # noqa: E402

from vdalib.clip.dense import adapter_attention, block_output, dense_forward, position_embedding  # noqa: E402
from vdalib.clip.text import attribute_clusters, enriched_text  # noqa: E402

TOWER = dict(image_size=32, patch_size=8, width=24, layers=4, heads=3, mlp_ratio=2.0, output_dim=16)


def tower(seed=0, **options):
    torch.manual_seed(seed)
    visual = VisionTransformer(**{**TOWER, **options})
    for name, parameter in visual.named_parameters():
        if parameter.ndim == 1 or "in_proj" in name:  # biases, norms and attention far from their initial values
            parameter.data += 0.3 * torch.randn_like(parameter)
    return visual.double().eval()


def random_images(batch=2, height=32, width=32, seed=1):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)).double()


def last_layer(layers, grid):
    return layers[-1].transpose(1, 2).unflatten(2, grid)


def tokens_of(patches):
    return patches.flatten(2).transpose(1, 2)


def softmax_of(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def literal_adapter_attention(embedding):
    """(E, h, w) of one image -> N lists of N weights."""
    vectors = [v / v.norm() for v in embedding.flatten(1).T]
    cosines = [[float(a @ b) for b in vectors] for a in vectors]
    mean = sum(map(sum, cosines)) / len(vectors) ** 2
    raised = [[3 * (value - mean) for value in row] for row in cosines]
    return [softmax_of([value if value >= 0 else -math.inf for value in row]) for row in raised]


@torch.no_grad()
def literal_patches(visual, image, calibrated_blocks, share_heads, embedding=None):
    """Calibrated patches (N, D) of one image: block by block, head by head, token by token, by the Annex."""
    tokens = visual._embeds(image[None])[0]
    count, heads, size = len(tokens), TOWER["heads"], TOWER["width"] // TOWER["heads"]
    blocks = visual.transformer.resblocks
    dense = None
    for index, block in enumerate(blocks):
        if index >= len(blocks) - calibrated_blocks:
            dense = tokens.clone() if dense is None else dense
            normed = block.ln_1(tokens)
            weight, bias = block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3)
            parts = [(normed @ w.T + b) for w, b in zip(weight, bias)]
            attention = torch.zeros(heads, count, count).double()
            for head in range(heads):
                for part in parts:
                    vectors = part[:, head * size : (head + 1) * size]
                    for i in range(count):
                        row = softmax_of([float(vectors[i] @ vectors[j]) / math.sqrt(size) for j in range(count)])
                        attention[head, i] += torch.tensor(row).double() / 3
                if embedding is not None:
                    attention[head, 1:, 1:] += torch.tensor(literal_adapter_attention(embedding)).double()
            if share_heads:
                attention = attention.sum(0).expand(heads, count, count)
            mixed = torch.cat([attention[h] @ parts[2][:, h * size : (h + 1) * size] for h in range(heads)], dim=1)
            dense = dense + block.ls_1(mixed @ block.attn.out_proj.weight.T + block.attn.out_proj.bias)
        tokens = block(tokens[None])[0]
    return F.normalize(visual.ln_post(dense[1:]) @ visual.proj, dim=-1)


TOWERS = {
    "plain": {},
    "layer scale": {"ls_init_value": 0.5},
    "no ln_pre, quick gelu": {"no_ln_pre": True, "act_layer": QuickGELU},
    "patch dropout": {"patch_dropout": 0.5},
}


@pytest.mark.parametrize("options", TOWERS.values(), ids=TOWERS.keys())
def test_without_calibration_everything_is_open_clips_own(options):
    visual, images = tower(output_tokens=True, **options), random_images()
    features = dense_forward(visual, images, calibration="none")
    cls, patches = visual(images)
    torch.testing.assert_close(features.cls, F.normalize(cls, dim=-1))
    torch.testing.assert_close(tokens_of(features.patches), F.normalize(patches @ visual.proj, dim=-1))
    own = visual.forward_intermediates(images, output_fmt="NLC")["image_intermediates"]
    torch.testing.assert_close(features.layers, tuple(own))
    assert features.attention is None and features.grid == (4, 4)


def test_patch_dropout_never_drops_patches_even_in_training_mode():
    visual, images = tower(patch_dropout=0.5), random_images()
    expected = dense_forward(visual, images, calibrated_blocks=3).patches
    trained = dense_forward(visual.train(), images, calibrated_blocks=3).patches
    torch.testing.assert_close(trained, expected)


@pytest.mark.parametrize("height, width", [(48, 64), (16, 40)])
def test_other_sizes_equal_a_tower_built_for_that_size_with_open_clips_resizing(height, width):
    visual, images = tower(), random_images(height=height, width=width)
    state = {f"visual.{name}": value.clone() for name, value in visual.state_dict().items()}
    other = tower(seed=7, image_size=(height, width), output_tokens=True)
    resize_pos_embed(state, SimpleNamespace(visual=other))
    other.load_state_dict({name.removeprefix("visual."): value for name, value in state.items()})
    features = dense_forward(visual, images, calibration="none")
    cls, patches = other(images)
    assert features.patches.shape == (2, 16, height // 8, width // 8)
    torch.testing.assert_close(tokens_of(features.patches), F.normalize(patches @ other.proj, dim=-1))
    torch.testing.assert_close(features.cls, F.normalize(cls, dim=-1))


def bilinear(image, height, width):
    """(h, w, C) at half-pixel centres, the border repeated; one interpolation per value."""
    result = torch.zeros(height, width, image.shape[2], dtype=image.dtype)
    for y in range(height):
        for x in range(width):
            places = ((y + 0.5) * image.shape[0] / height - 0.5, (x + 0.5) * image.shape[1] / width - 0.5)
            (y0, dy), (x0, dx) = ((math.floor(max(p, 0)), max(p, 0) % 1) for p in places)
            y1, x1 = min(y0 + 1, image.shape[0] - 1), min(x0 + 1, image.shape[1] - 1)
            above = (1 - dx) * image[y0, x0] + dx * image[y0, x1]
            result[y, x] = (1 - dy) * above + dy * ((1 - dx) * image[y1, x0] + dx * image[y1, x1])
    return result


@pytest.mark.parametrize("grid", [(6, 8), (3, 2)], ids=["larger", "smaller"])
def test_positions_are_resized_bilinearly_where_asked_for(grid):
    position = torch.randn(17, 5, generator=torch.Generator().manual_seed(0)).double()
    found = position_embedding(position, (4, 4), grid, "bilinear")
    torch.testing.assert_close(found[1:].unflatten(0, grid), bilinear(position[1:].unflatten(0, (4, 4)), *grid))
    assert torch.equal(found[0], position[0])
    assert not torch.allclose(found, position_embedding(position, (4, 4), grid))  # bicubic
    assert torch.equal(position_embedding(position, (4, 4), (4, 4), "bilinear"), position)


def test_the_dense_pass_resizes_positions_as_it_is_told():
    visual, images = tower(), random_images(height=48)
    found = dense_forward(visual, images, calibration="none", position_resize="bilinear")
    resized = dense_sized(tower(), (4, 4))
    position = position_embedding(visual.positional_embedding, (4, 4), (6, 4), "bilinear")
    resized.positional_embedding, resized.grid_size = torch.nn.Parameter(position), (6, 4)
    torch.testing.assert_close(found.patches, dense_forward(resized, images, calibration="none").patches)
    assert not torch.allclose(found.patches, dense_forward(visual, images, calibration="none").patches)


@pytest.mark.parametrize("share_heads", [False, True], ids=["heads apart", "heads shared"])
@pytest.mark.parametrize("options", [{}, {"ls_init_value": 0.5}], ids=["plain", "layer scale"])
def test_static_calibration_equals_the_literal_loops(options, share_heads):
    visual, images = tower(**options), random_images(height=24)
    visual = dense_sized(visual, (3, 4))
    features = dense_forward(visual, images, calibrated_blocks=3, share_heads=share_heads)
    expected = torch.stack([literal_patches(visual, image, 3, share_heads) for image in images])
    torch.testing.assert_close(tokens_of(features.patches), expected)
    assert not torch.allclose(features.patches, dense_forward(visual, images, calibration="none").patches, atol=1e-2)


@pytest.mark.parametrize("share_heads", [False, True], ids=["heads apart", "heads shared"])
def test_learnable_calibration_equals_the_literal_loops(share_heads):
    visual, images = dense_sized(tower(), (3, 4)), random_images(height=24)
    features = dense_forward(
        visual,
        images,
        calibration="learnable",
        calibrated_blocks=2,
        share_heads=share_heads,
        embed=last_layer,
    )
    embedding = last_layer(features.layers, features.grid).detach()
    expected = [literal_patches(visual, x, 2, share_heads, e) for x, e in zip(images, embedding)]
    torch.testing.assert_close(tokens_of(features.patches), torch.stack(expected))
    static = dense_forward(visual, images, calibrated_blocks=2, share_heads=share_heads)
    assert not torch.allclose(features.patches, static.patches, atol=1e-3)
    without = dense_forward(visual, images, calibration="learnable", calibrated_blocks=2, share_heads=share_heads)
    torch.testing.assert_close(without.patches, static.patches)


def dense_sized(visual, grid):
    """The tower with its position embedding cut to `grid`, so that `_embeds` takes that size."""
    visual.grid_size, visual.image_size = grid, (grid[0] * 8, grid[1] * 8)
    visual.positional_embedding = torch.nn.Parameter(visual.positional_embedding[: 1 + grid[0] * grid[1]])
    return visual


def test_value_calibration_is_the_last_blocks_value_path():
    visual, images = tower(ls_init_value=0.5), random_images()
    block = visual.transformer.resblocks[-1]
    before = dense_forward(visual, images, calibration="none").layers[-2]
    width = TOWER["width"]
    value = F.linear(block.ln_1(before), block.attn.in_proj_weight[2 * width :], block.attn.in_proj_bias[2 * width :])
    expected = visual.ln_post(before + block.ls_1(block.attn.out_proj(value))) @ visual.proj
    patches = dense_forward(visual, images, calibration="value").patches
    torch.testing.assert_close(tokens_of(patches), F.normalize(expected, dim=-1))


def test_calibration_leaves_the_original_path_untouched():
    visual, images = tower(), random_images()
    plain, static = (dense_forward(visual, images, calibration=c, calibrated_blocks=3) for c in ("none", "static"))
    torch.testing.assert_close(static.layers, plain.layers)
    torch.testing.assert_close(static.cls, plain.cls)


def test_attention_is_the_blocks_own_and_its_rows_with_the_class_token_sum_to_one():
    visual, images = tower(), random_images()
    features = dense_forward(visual, images, calibration="none", affinity_blocks=3)
    assert features.attention.shape == (3, 2, 16, 16)
    inputs = [visual._embeds(images)]
    for block in visual.transformer.resblocks:
        inputs.append(block(inputs[-1]))
    for attention, block, tokens in zip(features.attention, visual.transformer.resblocks[1:], inputs[1:]):
        normed = block.ln_1(tokens)
        full = block.attn(normed, normed, normed, need_weights=True, average_attn_weights=True)[1]
        torch.testing.assert_close(attention, full[:, 1:, 1:])
        torch.testing.assert_close(attention.sum(-1) + full[:, 1:, 0], torch.ones(2, 16).double())


def test_asking_for_attention_does_not_change_the_features():
    visual, images = tower(), random_images()
    without, asked = (dense_forward(visual, images, calibrated_blocks=3, affinity_blocks=n) for n in (0, 4))
    torch.testing.assert_close(without.patches, asked.patches)
    torch.testing.assert_close(without.layers, asked.layers)


@pytest.mark.parametrize("calibration", ["none", "value", "static", "learnable"])
def test_an_image_alone_equals_the_same_image_in_a_batch(calibration):
    visual, images = tower(), random_images(batch=4)
    options = dict(calibration=calibration, calibrated_blocks=3, affinity_blocks=2, embed=last_layer)
    batch, alone = dense_forward(visual, images, **options), dense_forward(visual, images[2:3], **options)
    torch.testing.assert_close(batch.patches[2:3], alone.patches)
    torch.testing.assert_close(batch.cls[2:3], alone.cls)
    torch.testing.assert_close(batch.attention[:, 2:3], alone.attention)


@pytest.mark.parametrize("share_heads", [False, True], ids=["heads apart", "heads shared"])
def test_gradients_agree_with_finite_differences(share_heads):
    visual, images = tower(), random_images(batch=1)
    options = dict(calibrated_blocks=3, share_heads=share_heads, affinity_blocks=2)
    weights = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(5)).double()

    def value():
        return (dense_forward(visual, images, **options).patches * weights).sum()

    for parameter in (visual.conv1.weight, visual.transformer.resblocks[2].attn.in_proj_weight, visual.proj):
        (gradient,) = torch.autograd.grad(value(), parameter)
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(6)).double()
        with torch.no_grad():
            original, step = parameter.clone(), 1e-6
            parameter.copy_(original + step * direction)
            above = value()
            parameter.copy_(original - step * direction)
            below = value()
            parameter.copy_(original)
        torch.testing.assert_close((above - below) / (2 * step), (gradient * direction).sum(), rtol=1e-5, atol=1e-7)


def test_adapter_attention_rows_sum_to_one_even_where_all_patches_are_alike():
    alike = torch.randn(64, 7, 1, 1, generator=torch.Generator().manual_seed(0)).expand(64, 7, 3, 5)
    attention = adapter_attention(alike)  # the mean cosine exceeds some images' cosines by rounding alone
    torch.testing.assert_close(attention.sum(-1), torch.ones(64, 15))


def test_under_bf16_autocast_features_stay_single_precision_and_close():
    visual, images = tower().float(), random_images().float()
    exact = dense_forward(visual, images, calibrated_blocks=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = dense_forward(visual, images, calibrated_blocks=3)
    assert rough.patches.dtype == rough.cls.dtype == torch.float32
    assert (rough.patches * exact.patches).sum(1).min() > 0.99
    torch.testing.assert_close(rough.patches.norm(dim=1), torch.ones(2, 4, 4))


@pytest.mark.parametrize(
    "shape, message",
    [((1, 3, 36, 32), "multiples of the patch size 8 x 8, got 36 x 32"), ((3, 32, 32), r"\(B, 3, H, W\)")],
)
def test_images_of_a_wrong_size_or_shape_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        dense_forward(tower(), torch.zeros(shape).double(), calibrated_blocks=3)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"calibration": "surgery"},
            "calibration: expected one of none, value, static, learnable, got 'surgery'",
        ),
        ({"calibrated_blocks": 5}, r"calibrated_blocks: expected 1 to 4 .* got 5"),
        ({"calibrated_blocks": 0}, r"calibrated_blocks: expected 1 to 4 .* got 0"),
        ({"calibrated_blocks": 4, "affinity_blocks": 6}, r"affinity_blocks: expected 0 to 4 .* got 6"),
        ({"calibrated_blocks": 4, "position_resize": "area"}, "position_resize: expected one of bicubic, bilinear, got 'area'"),
        (
            {"calibrated_blocks": 4, "calibration": "learnable", "embed": lambda layers, grid: layers[0]},
            r"embed: expected features of shape \(2, E, 4, 4\), got \(2, 16, 24\)",
        ),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dense_forward(tower(), random_images(), **options)


@pytest.mark.parametrize(
    "build, reason",
    [
        (
            lambda: ModifiedResNet((1, 1, 1, 1), output_dim=16, heads=2, image_size=32, width=8),
            "a ModifiedResNet",
        ),
        (lambda: tower(attentional_pool=True, attn_pooler_heads=2), "pools by attention"),
        (lambda: tower(pool_type="avg"), "no class token output"),
        (lambda: tower(qk_norm=True), "blocks are CustomResidualAttentionBlock"),
    ],
)
def test_other_towers_are_refused_with_the_reason(build, reason):
    with pytest.raises(ValueError, match=f"clip.model: expected an open_clip VisionTransformer .*{reason}"):
        dense_forward(build(), random_images())


def test_the_tokens_that_enter_the_last_block_and_the_dense_path_are_handed_over():
    visual, images = tower(), random_images()
    for calibration in ("none", "value", "static"):
        features = dense_forward(visual, images, calibration=calibration, calibrated_blocks=2)
        assert torch.equal(features.entering[:, 1:], features.layers[-2])
        block = visual.transformer.resblocks[-1]
        last = block_output(block, features.entering, block.ln_1(features.entering))
        torch.testing.assert_close(last, block(features.entering))
        torch.testing.assert_close(last[:, 1:], features.layers[-1])
        projected = F.normalize(visual.ln_post(features.dense) @ visual.proj, dim=2)
        torch.testing.assert_close(projected, tokens_of(features.patches))


def test_enriched_text_is_its_literal_formula():
    generator = torch.Generator().manual_seed(0)
    prototypes = F.normalize(torch.randn(3, 6, generator=generator), dim=1)
    bank = torch.randn(20, 6, generator=generator)
    enriched = enriched_text(prototypes, bank)
    for t, found in zip(prototypes, enriched):
        nearest = sorted(bank, key=lambda a, t=t: float(t @ a))[2:]  # the lowest tenth is left out
        weights = [math.exp(t @ a) for a in nearest]
        expected = t + sum(w / sum(weights) * a for w, a in zip(weights, nearest))
        torch.testing.assert_close(found, expected / expected.norm())


def test_attribute_bank_finds_the_centres_of_separate_clusters():
    centres = 10 * torch.eye(4)
    noise = 0.1 * torch.randn(4, 25, 4, generator=torch.Generator().manual_seed(1))
    bank, _ = attribute_clusters((centres[:, None] + noise).flatten(0, 1), 4)
    assert bank.dtype == noise.dtype
    torch.testing.assert_close(bank[bank.argmax(1).argsort()], (centres[:, None] + noise).mean(1), atol=1e-4, rtol=0)
