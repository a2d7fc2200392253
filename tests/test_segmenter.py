"""Adapter, decoder and patch affinity against what the appendix and the annex say of them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vdalib.config import SegmenterConfig
from vdalib.segmentation.segmenter import Adapter, Decoder, Segmenter, patch_affinity

LAYERS, TOKEN_WIDTH, WIDTH, GRID = 4, 10, 16, (3, 5)


@pytest.fixture
def segmenter():
    torch.manual_seed(0)
    config = SegmenterConfig(width=WIDTH, depth=2, heads=4, dropout=0.5)
    return Segmenter.from_config(config, LAYERS, TOKEN_WIDTH, num_classes=6)


def layers(batch=2, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, GRID[0] * GRID[1], TOKEN_WIDTH, generator=generator, dtype=dtype) for _ in range(LAYERS)]


def test_shapes_and_width(segmenter):
    logits, embedding, _ = segmenter(layers(), GRID)
    assert logits.shape == (2, 7, *GRID) and embedding.shape == (2, WIDTH, *GRID)
    assert segmenter.width == WIDTH


def test_default_is_the_appendix():
    segmenter = Segmenter.from_config(SegmenterConfig(), num_layers=12, token_width=768, num_classes=20)
    assert len(segmenter.adapter.projections) == 12 and len(segmenter.decoder.layers) == 3
    assert segmenter.width == 256 and segmenter.decoder.classify.out_features == 21
    first, activation, second = segmenter.adapter.projections[0]
    assert (first.in_features, first.out_features, second.out_features) == (768, 256, 256)
    assert isinstance(activation, torch.nn.ReLU)


def test_adapter_equals_mlps_and_a_matrix_patch_by_patch():
    torch.manual_seed(0)
    adapter, tokens = Adapter(LAYERS, TOKEN_WIDTH, WIDTH).double().eval(), layers(dtype=torch.float64)
    embedding = adapter(tokens, GRID)
    for image in range(2):
        for row in range(GRID[0]):
            for column in range(GRID[1]):
                patch = row * GRID[1] + column
                parts = []
                for (first, _, second), layer in zip(adapter.projections, tokens):
                    hidden = (first.weight @ layer[image, patch] + first.bias).clamp_min(0)
                    parts.append(second.weight @ hidden + second.bias)
                expected = adapter.compress.weight[:, :, 0, 0] @ torch.cat(parts) + adapter.compress.bias
                torch.testing.assert_close(embedding[image, :, row, column], expected)


def test_a_decoder_layer_is_pre_norm_attention_and_a_quickgelu_mlp():
    torch.manual_seed(0)
    decoder, embedding = Decoder(WIDTH, 3, depth=1, heads=4).double(), torch.randn(1, WIDTH, *GRID, dtype=torch.float64)
    (layer,) = decoder.layers
    assert layer.linear1.out_features == 4 * WIDTH
    tokens = embedding.flatten(2).transpose(1, 2)
    normed = layer.norm1(tokens)
    tokens = tokens + layer.self_attn(normed, normed, normed)[0]
    hidden = layer.linear1(layer.norm2(tokens))
    hidden = torch.tensor([[x / (1 + math.exp(-1.702 * x)) for x in row] for row in hidden[0].tolist()], dtype=torch.float64)
    expected = decoder.classify(tokens + layer.linear2(hidden))
    for mode in (True, False):
        torch.testing.assert_close(decoder.train(mode)(embedding), expected.transpose(1, 2).unflatten(2, GRID))


def test_decoder_layers_start_different_from_each_other():
    first, second = Decoder(WIDTH, 3, depth=2, heads=4).layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_decoder_sees_the_whole_image_and_follows_its_patches():
    torch.manual_seed(0)
    decoder, embedding = (
        Decoder(WIDTH, 3, depth=2, heads=4).double(),
        torch.randn(1, WIDTH, *GRID, dtype=torch.float64),
    )
    logits = decoder(embedding)
    torch.testing.assert_close(decoder(embedding.flip(3)), logits.flip(3))
    changed = embedding.clone()
    changed[:, 0, 0, 0] += 1  # one channel of one patch
    assert ((decoder(changed) - logits).abs() > 1e-9).all()


def test_images_of_a_batch_do_not_mix(segmenter):
    segmenter.eval()
    batch = segmenter(layers(3), GRID)
    alone = segmenter([layer[1:2] for layer in layers(3)], GRID)
    torch.testing.assert_close(alone.logits, batch.logits[1:2])


def test_dropout_leaves_out_whole_channels_in_training_only(segmenter):
    embedding = segmenter.train()(layers(), GRID).embedding.flatten(2)
    dropped = (embedding == 0).all(2)
    assert 0 < dropped.sum() < dropped.numel() and torch.equal((embedding == 0).any(2), dropped)
    assert not (segmenter.eval()(layers(), GRID).embedding == 0).any()


def test_every_parameter_gets_a_gradient(segmenter):
    logits = segmenter(layers(), GRID).logits
    F.cross_entropy(logits, torch.zeros(2, *GRID, dtype=torch.long)).backward()
    assert all(parameter.grad is not None for parameter in segmenter.parameters())


def test_runs_under_bfloat16_autocast(segmenter):
    with torch.autocast("cpu", torch.bfloat16):
        output = segmenter([layer.bfloat16() for layer in layers()], GRID)
    assert output.logits.dtype == torch.bfloat16 and output.logits.isfinite().all()


def test_patch_affinity_equals_the_annex_entry_by_entry():
    embedding = torch.randn(2, WIDTH, *GRID, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = patch_affinity(embedding)
    for image in range(2):
        vectors = [embedding[image, :, row, column] for row in range(GRID[0]) for column in range(GRID[1])]
        cosines = [[float(a @ b / (a.norm() * b.norm())) for b in vectors] for a in vectors]
        mean = sum(map(sum, cosines)) / len(vectors) ** 2
        for i, row in enumerate(cosines):
            for j, cosine in enumerate(row):
                assert found[image, i, j].item() == pytest.approx(1 / (1 + math.exp(-3 * (cosine - mean))), abs=1e-12)


def test_raw_patch_affinity_is_the_sigmoid_of_dot_products():
    embedding = torch.randn(2, WIDTH, *GRID, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = patch_affinity(embedding, raw=True)
    for image in range(2):
        vectors = [embedding[image, :, row, column] for row in range(GRID[0]) for column in range(GRID[1])]
        expected = [[1 / (1 + math.exp(-sum(float(x * y) for x, y in zip(a, b)))) for b in vectors] for a in vectors]
        torch.testing.assert_close(found[image], torch.tensor(expected, dtype=torch.float64))
    with torch.autocast("cpu", torch.bfloat16):
        assert patch_affinity(embedding.bfloat16(), raw=True).dtype == torch.float32


def test_patch_affinity_is_single_precision_under_autocast():
    embedding = torch.randn(1, WIDTH, *GRID, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(patch_affinity(embedding), patch_affinity(embedding.clone()))
        assert patch_affinity(embedding.bfloat16()).dtype == torch.float32
        found = patch_affinity(embedding)
    assert torch.equal(found, patch_affinity(embedding))


def test_patch_affinity_passes_gradients_to_the_embedding():
    embedding = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(patch_affinity, (embedding,))


def test_wrong_number_of_layers_is_refused(segmenter):
    with pytest.raises(ValueError, match="layers: expected 4 tensors, one per CLIP block, got 3"):
        segmenter(layers()[:3], GRID)


def test_tokens_that_do_not_fill_the_grid_are_refused(segmenter):
    with pytest.raises(ValueError, match="layers: 15 patch tokens do not fill the grid 4 x 5"):
        segmenter(layers(), (4, 5))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="heads: 3 heads do not divide width 16"):
        Decoder(16, 3, heads=3)
