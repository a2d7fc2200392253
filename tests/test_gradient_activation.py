"""Grad-CAM from text against finite differences on a tiny tower, and against autograd on the published target."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import nn

from vdalib.clip.dense import dense_forward
from vdalib.segmentation.cam import gradient_activation, min_max

B, K, T, D, GRID = 3, 4, 3, 16, (3, 5)
LABELS = torch.tensor([[True, False, True, False], [False, False, False, True], [True, True, True, False]])
PAIRS = LABELS.nonzero().tolist()
SCALE = 20.0


@pytest.fixture(scope="module")
def visual():
    torch.manual_seed(0)
    visual = VisionTransformer(image_size=32, patch_size=8, width=24, layers=3, heads=3, mlp_ratio=2.0, output_dim=D)
    for name, parameter in visual.named_parameters():
        if parameter.ndim == 1 or "in_proj" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return visual.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tokens(visual):
    images = torch.randn(B, 3, 8 * GRID[0], 8 * GRID[1], generator=torch.Generator().manual_seed(1)).double()
    return dense_forward(visual, images, calibration="none").entering


def texts(seed=2):
    rows = torch.randn(K + T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows, dim=1).split((K, T))


def scores(visual, tokens, z, image, pool="patches"):
    """Logits of an image's own classes and the background words, the block written with torch's own attention."""
    block = visual.transformer.resblocks[-1]
    u = tokens[image : image + 1]
    x = u + block.attn(z, z, z, need_weights=False)[0]
    x = x + block.mlp(block.ln_2(x))
    projected = visual.ln_post(x) @ visual.proj
    f = F.normalize(projected[0, 0] if pool == "cls" else projected[0, 1:].mean(0), dim=0)
    words, background = texts()
    return SCALE * torch.cat([words[LABELS[image]], background]) @ f


def log_share(visual, tokens, z, image, k, pool="patches"):
    place = int(LABELS[image, :k].sum())
    return scores(visual, tokens, z, image, pool).log_softmax(0)[place]


def as_map(weights, z):
    values = (z[0, 1:] @ weights).relu()
    return min_max(values.view(*GRID), eps=1e-300)


@pytest.mark.parametrize("pool", ["patches", "cls"])
def test_it_equals_finite_differences_of_the_log_probability(visual, tokens, pool):
    found = gradient_activation(visual, tokens, *texts(), LABELS, SCALE, GRID, pool)
    block, step = visual.transformer.resblocks[-1], 1e-5
    for image, k in PAIRS:
        z = block.ln_1(tokens[image : image + 1])
        weights = torch.zeros(z.shape[2], dtype=torch.float64)
        for channel in range(len(weights)):
            moved = torch.zeros_like(z)
            moved[0, 1:, channel] = step  # the mean of the patches' gradients is the slope of a shift of all patches, over N
            up, down = (log_share(visual, tokens, z + sign * moved, image, k, pool) for sign in (1, -1))
            weights[channel] = (up - down) / (2 * step) / (z.shape[1] - 1)
        torch.testing.assert_close(found[image, k], as_map(weights, z), atol=1e-6, rtol=0)


def test_by_hand_on_four_patches():
    """Attention is the mean of all tokens and nothing else happens in the block, so f lies along (1, 1) and the gradient of every
    patch along t_y - t_background = (1, -1), which is orthogonal to f: patches count by how much more of y they hold."""
    attention = nn.MultiheadAttention(2, 1, batch_first=True).requires_grad_(False)
    attention.in_proj_weight.copy_(torch.cat([torch.zeros(4, 2), torch.eye(2)]))  # no queries, no keys; values as they are
    attention.out_proj.weight.copy_(torch.eye(2))
    same = nn.Identity()
    block = SimpleNamespace(attn=attention, ln_1=same, ln_2=same, ls_1=same, ls_2=same, mlp=torch.zeros_like)
    visual = SimpleNamespace(transformer=SimpleNamespace(resblocks=[block]), ln_post=same, proj=torch.eye(2))
    tokens = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.75, 0.25], [0.25, 0.75]]])
    words, background, labels = torch.eye(2), torch.tensor([[0.0, 1.0]]), torch.tensor([[True, False]])
    found = gradient_activation(visual, tokens, words, background, labels, SCALE)
    torch.testing.assert_close(found, torch.tensor([[[[1.0, 0.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]]))


def test_the_probability_as_target_gives_the_same_map(visual, tokens):
    found = gradient_activation(visual, tokens, *texts(), LABELS, SCALE, GRID)
    for image, k in PAIRS:
        z = visual.transformer.resblocks[-1].ln_1(tokens[image : image + 1]).requires_grad_()
        probability = log_share(visual, tokens, z, image, k).exp()
        (gradient,) = torch.autograd.grad(probability, z)
        expected = as_map(gradient[0, 1:].mean(0), z.detach())
        torch.testing.assert_close(found[image, k], expected, atol=1e-9, rtol=0)


def test_absent_classes_are_zero_and_do_not_compete(visual, tokens):
    words, background = texts()
    found = gradient_activation(visual, tokens, words, background, LABELS, SCALE, GRID)
    assert not found[~LABELS].any() and (found[LABELS].amax((1, 2)) > 0.99).any()
    others = words.clone()
    others[1:3] = texts(seed=9)[0][1:3]  # absent in the second image, which has class 3 alone
    again = gradient_activation(visual, tokens, others, background, LABELS, SCALE, GRID)
    assert torch.equal(again[1], found[1]) and not torch.equal(again[2], found[2])


def test_a_map_does_not_depend_on_the_other_images_of_the_batch(visual, tokens):
    together = gradient_activation(visual, tokens, *texts(), LABELS, SCALE, GRID)
    for image in range(B):
        alone = gradient_activation(visual, tokens[[image]], *texts(), LABELS[[image]], SCALE, GRID)
        torch.testing.assert_close(alone[0], together[image], atol=1e-12, rtol=0)


def test_a_certain_or_hopeless_class_still_has_a_map_in_single_precision(visual, tokens):
    """At a scale of 1e4 every probability is 0 or 1 in single precision, and the published target has no gradient."""
    visual = visual.float()
    words, background = (part.float() for part in texts())
    found = gradient_activation(visual, tokens.float(), words, background, LABELS, 1e4, GRID)
    visual.double()
    exact = gradient_activation(visual, tokens, *texts(), LABELS, 1e4, GRID)
    torch.testing.assert_close(found.double(), exact, atol=1e-4, rtol=0)
    assert (exact[LABELS].amax((1, 2)) > 0).float().mean() >= 0.5


def test_patches_that_are_all_alike_say_nothing(visual, tokens):
    """For some classes w . z is negative everywhere, for others the same positive number: zero in both cases, and never NaN."""
    alike = torch.cat([tokens[:, :1], tokens[:, 1:2].expand(-1, tokens.shape[1] - 1, -1)], dim=1)
    found = gradient_activation(visual, alike, *texts(), LABELS, SCALE, GRID)
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-8, rtol=0)


def test_clip_collects_no_gradient_and_the_caller_keeps_his_mode(visual, tokens):
    with torch.no_grad():
        found = gradient_activation(visual, tokens, *texts(), LABELS, SCALE, GRID)
        assert not torch.is_grad_enabled()
    assert not found.requires_grad and all(parameter.grad is None for parameter in visual.parameters())


def test_a_square_grid_need_not_be_said_and_autocast_changes_nothing(visual, tokens):
    square = tokens[:, : 1 + 9]
    with torch.autocast("cpu", torch.bfloat16):
        found = gradient_activation(visual, square, *texts(), LABELS, SCALE)
    torch.testing.assert_close(found, gradient_activation(visual, square, *texts(), LABELS, SCALE, (3, 3)))
