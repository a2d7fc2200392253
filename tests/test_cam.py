"""CAM, redundancy removal, random walk and pseudo labels against the annex, read literally in loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vdalib.clip import DenseFeatures
from vdalib.config import RefineConfig
from vdalib.segmentation.cam import (
    affinity_matrix,
    box_mask,
    class_activation,
    gated_blocks,
    min_max,
    pseudo_label,
    redundancy_free_activation,
    refine_cam,
    remove_redundancy,
)
from vdalib.segmentation.par import pixel_adaptive_refinement

B, K, D, GRID = 3, 4, 6, (3, 5)
N = GRID[0] * GRID[1]
LABELS = torch.tensor([[True, False, True, False], [False, False, False, True], [True, True, True, False]])


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def features():
    return DenseFeatures(
        patches=F.normalize(randn(B, D, *GRID), dim=1),
        cls=F.normalize(randn(B, D, seed=1), dim=1),
        layers=(),
        attention=None,
        grid=GRID,
    )


def literal_min_max(values):
    low, high = min(values), max(values)
    return [(value - low) / (high - low) for value in values]


def test_class_activation_is_the_scaled_cosine(features):
    queries = randn(B, K, D, seed=2)
    cam = class_activation(features.patches, queries, LABELS)
    assert cam.shape == (B, K, *GRID)
    for b in range(B):
        patches = features.patches[b].flatten(1).T
        for k in range(K):
            cosines = [float(patch @ queries[b, k] / patch.norm() / queries[b, k].norm()) for patch in patches]
            expected = literal_min_max(cosines) if LABELS[b, k] else [0.0] * N
            assert cam[b, k].flatten().tolist() == pytest.approx(expected, abs=1e-12)


def test_class_activation_does_not_depend_on_the_length_of_queries(features):
    queries = randn(B, K, D, seed=2)
    torch.testing.assert_close(
        class_activation(features.patches, 7 * queries, LABELS),
        class_activation(features.patches, queries, LABELS),
    )


def test_constant_activation_gives_zero_not_nan():
    patches = F.normalize(torch.ones(1, D, *GRID), dim=1)
    cam = class_activation(patches, torch.ones(1, K, D), torch.ones(1, K, dtype=torch.bool))
    assert torch.equal(cam, torch.zeros(1, K, *GRID))
    noise = min_max(0.2 + 1e-8 * randn(1, *GRID))
    assert noise.max() < 0.1  # rounding is not taken for a signal


def literal_redundancy_removal(similarity):
    texts, tokens = similarity.shape
    exponentials = [float(torch.exp(2 * similarity[t, 0])) for t in range(texts)]
    probability = [e / sum(exponentials) for e in exponentials]
    weights = [p / (sum(probability) / texts) for p in probability]
    result = torch.zeros_like(similarity)
    for n in range(tokens):
        mean = sum(weights[t] * similarity[t, n] for t in range(texts)) / texts
        for t in range(texts):
            result[t, n] = weights[t] * similarity[t, n] - mean
    return result


def test_redundancy_removal_equals_the_annex():
    similarity = randn(B, 7, 1 + N)
    expected = torch.stack([literal_redundancy_removal(s) for s in similarity])
    torch.testing.assert_close(remove_redundancy(similarity), expected)


def test_redundancy_free_activation_compares_with_background_texts(features):
    queries, background = randn(B, K, D, seed=2), F.normalize(randn(3, D, seed=3), dim=1)
    cam = redundancy_free_activation(features, queries, background, LABELS)
    for b in range(B):
        tokens = [features.cls[b], *features.patches[b].flatten(1).T]
        texts = [query / query.norm() for query in queries[b]] + list(background)
        similarity = torch.stack([torch.stack([text @ token for token in tokens]) for text in texts])
        clean = literal_redundancy_removal(similarity)
        for k in range(K):
            expected = literal_min_max(clean[k, 1:].tolist()) if LABELS[b, k] else [0.0] * N
            assert cam[b, k].flatten().tolist() == pytest.approx(expected, abs=1e-12)


def attention_maps(blocks=6, seed=4):
    return (2 * randn(blocks, B, N, 1 + N, seed=seed)).softmax(-1)[..., 1:]


def literal_affinity(attention, seg_affinity):
    """attention: list of (N, N); seg_affinity (N, N) or None."""
    if seg_affinity is None:
        kept = list(attention)
    else:
        differences = [sum(seg_affinity[i, j] - block[i, j] for i in range(N) for j in range(N)) for block in attention]
        mean = sum(differences) / len(differences)
        kept = [block for block, difference in zip(attention, differences) if difference <= mean]
        assert 0 < len(kept) < len(attention)
    walk = sum(kept) / len(kept)
    if seg_affinity is not None:
        walk = walk * seg_affinity
    for _ in range(3):
        for j in range(N):
            walk[:, j] = walk[:, j] / sum(walk[i, j] for i in range(N))
        for i in range(N):
            walk[i] = walk[i] / sum(walk[i, j] for j in range(N))
    walk = (walk + walk.T) / 2
    return torch.tensor([[sum(walk[i, m] * walk[m, j] for m in range(N)) for j in range(N)] for i in range(N)])


# Three blocks on a grid of 2 x 2 patches. Sums 2.0, 3.2 and 3.8 of a possible 4, mean 3.0.
BLOCKS = torch.tensor([[[0.5, 0.0, 0.0, 0.0]] * 4, [[0.2, 0.2, 0.2, 0.2]] * 4, [[0.95, 0.0, 0.0, 0.0]] * 4])[:, None]
EVEN = torch.full((1, 4, 4), 0.2)
ODD = torch.tensor([[[0.5, 0.0, 0.0, 0.0]] * 4])


def test_the_gate_by_hand_on_four_patches():
    for affinity in (EVEN, ODD):  # the affinity cancels in the signed sum
        assert gated_blocks(BLOCKS, affinity)[:, 0].tolist() == [False, True, True]
    # Absolute, to EVEN: rows differ by 0.3 + 0.6 = 0.9, 0 and 0.75 + 0.6 = 1.35; times four 3.6, 0, 5.4 with mean 3.0.
    assert gated_blocks(BLOCKS, EVEN, absolute=True)[:, 0].tolist() == [False, True, False]
    # To ODD: 0, 3.6 and 4 x 0.45 = 1.8, mean 1.8: a block at the mean is kept.
    assert gated_blocks(BLOCKS, ODD, absolute=True)[:, 0].tolist() == [True, False, True]


def test_the_gate_chooses_for_each_image_alone_and_keeps_equal_blocks():
    attention = torch.cat([BLOCKS, BLOCKS.flip(0)], dim=1)
    assert gated_blocks(attention, EVEN.expand(2, -1, -1)).T.tolist() == [[False, True, True], [True, True, False]]
    assert gated_blocks(BLOCKS[:1].expand(3, -1, -1, -1), EVEN).all()


def test_the_walk_uses_the_gated_blocks_alone():
    attention, own = attention_maps(), torch.sigmoid(randn(B, N, N, seed=5))
    kept = gated_blocks(attention, own, absolute=True)
    assert (kept != gated_blocks(attention, own)).any() and not kept.all()
    found = affinity_matrix(attention, own, absolute=True)
    for b in range(B):
        product = attention[kept[:, b], b].mean(0) * own[b]
        torch.testing.assert_close(found[[b]], affinity_matrix(product[None, None]))


def test_minimum_and_maximum_may_count_the_class_token(features):
    queries, background = randn(B, K, D, seed=2), F.normalize(randn(3, D, seed=3), dim=1)
    plain = redundancy_free_activation(features, queries, background, LABELS)
    published = redundancy_free_activation(features, queries, background, LABELS, scale_with_cls=True)
    different = 0
    for b, k in LABELS.nonzero().tolist():
        tokens = torch.cat([features.cls[b][:, None], features.patches[b].flatten(1)], dim=1)
        texts = torch.cat([F.normalize(queries[b], dim=1), background])
        clean = literal_redundancy_removal(texts @ tokens)
        expected = literal_min_max(clean[k].tolist())[1:]
        assert published[b, k].flatten().tolist() == pytest.approx(expected, abs=1e-12)
        different += not torch.allclose(published[b, k], plain[b, k])
    assert different


@pytest.mark.parametrize("with_adapter", [False, True])
def test_affinity_matrix_equals_the_annex(with_adapter):
    attention = attention_maps()
    own = torch.sigmoid(randn(B, N, N, seed=5)) if with_adapter else None
    found = affinity_matrix(attention, own)
    expected = [literal_affinity(attention[:, b].clone(), own[b] if with_adapter else None) for b in range(B)]
    torch.testing.assert_close(
        found, torch.stack(expected).double(), rtol=0, atol=1e-7
    )  # the literal sums end in single precision


def test_equal_blocks_are_all_kept_in_spite_of_rounding():
    attention = attention_maps(1).float().expand(6, -1, -1, -1)
    own = torch.ones(B, N, N)
    torch.testing.assert_close(affinity_matrix(attention, own), affinity_matrix(attention))


def test_patches_that_nobody_attends_to_do_not_make_nan():
    attention = attention_maps()
    attention[:, :, :, 3] = 0
    attention[:, :, 7] = 0
    assert affinity_matrix(attention).isfinite().all()


def test_affinity_matrix_is_single_precision_under_autocast():
    attention = attention_maps().float()
    with torch.autocast("cpu", torch.bfloat16):
        found = affinity_matrix(attention)
        assert affinity_matrix(attention.bfloat16()).dtype == torch.float32
    assert torch.equal(found, affinity_matrix(attention))


def literal_box_mask(region):
    """Boxes of 8-connected regions by flood fill."""
    height, width = region.shape
    mask, seen = torch.zeros_like(region), set()
    for start in ((y, x) for y in range(height) for x in range(width) if region[y, x]):
        if start in seen:
            continue
        pending, component = [start], {start}
        while pending:
            y, x = pending.pop()
            for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                inside = 0 <= near[0] < height and 0 <= near[1] < width
                if inside and region[near] and near not in component:
                    component.add(near)
                    pending.append(near)
        seen |= component
        rows, columns = zip(*component)
        mask[min(rows) : max(rows) + 1, min(columns) : max(columns) + 1] = True
    return mask


def test_boxes_go_round_each_connected_region_of_each_map():
    regions = torch.rand(5, 4, 9, 11, generator=torch.Generator().manual_seed(0)) > 0.8
    expected = torch.stack([torch.stack([literal_box_mask(region) for region in maps]) for maps in regions])
    assert torch.equal(box_mask(regions), expected)


def test_a_map_without_a_region_is_not_boxed():
    regions = torch.zeros(2, 1, *GRID, dtype=torch.bool)
    regions[1, 0, 1, 1] = True
    mask = box_mask(regions)
    assert mask[0].all() and mask[1].sum() == 1


def test_refined_cam_equals_the_annex():
    height, width = 6, 7
    cam = torch.rand(B, K, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    affinity = torch.rand(B, height * width, height * width, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    found = refine_cam(cam, affinity, LABELS, threshold=0.79)
    for b in range(B):
        for k in range(K):
            if not LABELS[b, k]:
                assert not found[b, k].any()
                continue
            mask = literal_box_mask(cam[b, k] > 0.79 * cam[b, k].max()).flatten()
            assert not mask.all()
            walk = affinity[b].clone()
            for j in range(height * width):
                if not mask[j]:
                    walk[:, j] = 0
            expected = [sum(w * c for w, c in zip(row, cam[b, k].flatten().tolist())) for row in walk.tolist()]
            assert found[b, k].flatten().tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.79, 1.0])
def test_an_empty_cam_stays_finite(threshold):
    cam = torch.zeros(B, K, *GRID)
    cam[0, 0, 1, 1] = 1
    refined = refine_cam(cam, affinity_matrix(attention_maps().float()), LABELS, threshold)
    assert refined.isfinite().all() and refined[0, 0].any() and not refined[1].any()


def test_at_threshold_one_the_walk_starts_from_the_maximum_alone():
    cam = torch.rand(B, K, *GRID, generator=torch.Generator().manual_seed(6))
    cam[0, 0, 0, 1] = cam[0, 0, 2, 3] = cam[0, 0].max()  # three places
    affinity = torch.eye(N).expand(B, -1, -1)  # a walk that stays where it is
    found = refine_cam(cam, affinity, LABELS, threshold=1.0)
    for b, k in LABELS.nonzero().tolist():
        assert torch.equal(found[b, k], cam[b, k] * (cam[b, k] == cam[b, k].max()))
    assert (found[0, 0] > 0).sum() == 3


def test_refined_cam_is_single_precision_under_autocast():
    cam = torch.rand(B, K, *GRID, generator=torch.Generator().manual_seed(6))
    affinity = affinity_matrix(attention_maps().float())
    with torch.autocast("cpu", torch.bfloat16):
        found = refine_cam(cam, affinity, LABELS, 0.79)
        assert refine_cam(cam.bfloat16(), affinity, LABELS, 0.79).dtype == torch.float32
    assert torch.equal(found, refine_cam(cam, affinity, LABELS, 0.79))


def test_affinity_of_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"affinity: expected shape \(B, 15, 15\) for CAMs of 3 x 5, got \(3, 16, 16\)"):
        refine_cam(torch.rand(B, K, *GRID), torch.rand(B, 16, 16), LABELS, 0.79)


def scene(height=24, width=40):
    generator = torch.Generator().manual_seed(8)
    images = torch.rand(B, 3, height, width, dtype=torch.float64, generator=generator)
    refined = torch.rand(B, K, *GRID, dtype=torch.float64, generator=generator) * LABELS[:, :, None, None]
    return refined, images


def literal_pseudo_label(refined, labels, image, config):
    """One image: (K, h, w), (K,), (3, H, W) -> (H, W)."""
    classes = [k for k in range(K) if labels[k]]
    size, maps = image.shape[1:], []
    for k in classes:
        scaled = torch.tensor(literal_min_max(refined[k].flatten().tolist()), dtype=refined.dtype).view(refined[k].shape)
        maps.append(F.interpolate(scaled[None, None], size, mode="bilinear", align_corners=False)[0, 0])
    background = torch.tensor([[1 - max(m[y, x] for m in maps) for x in range(size[1])] for y in range(size[0])])
    scores = torch.stack([background.to(image.dtype), *maps])
    scores = pixel_adaptive_refinement(image[None], scores[None], config.par_iterations)[0]
    target = torch.zeros(size, dtype=torch.long)
    for y in range(size[0]):
        for x in range(size[1]):
            values = scores[:, y, x].tolist()
            best = values.index(max(values))
            ranked = sorted((value / sum(values) for value in values), reverse=True)
            target[y, x] = 255 if ranked[0] - ranked[1] < config.ignore_margin else [0, *(k + 1 for k in classes)][best]
    return target


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_pseudo_label_equals_the_annex(margin):
    (refined, images), config = scene(), RefineConfig(par_iterations=3, ignore_margin=margin)
    found = pseudo_label(refined, LABELS, images, None, config)
    expected = torch.stack([literal_pseudo_label(*each, config) for each in zip(refined, LABELS, images)])
    assert found.dtype == torch.int64 and torch.equal(found, expected)
    assert ((found == 255).any() and not (found == 255).all()) if margin else not (found == 255).any()


def test_cams_are_scaled_at_the_grid_so_that_resized_peaks_end_below_one():
    spike = torch.zeros(1, 1, 4, 4)
    spike[0, 0, 1, 1] = 3.0
    images, labels = torch.zeros(1, 3, 32, 32), torch.ones(1, 1, dtype=torch.bool)
    # The peak of the resized spike is (15 / 16)^2 = 0.879 of it, beside 0.121 of background: a lead of 0.758.
    for margin, found in ((0.75, {0, 1, 255}), (0.77, {0, 255})):
        target = pseudo_label(spike, labels, images, None, RefineConfig(par_iterations=0, ignore_margin=margin))
        assert set(target.unique().tolist()) == found


def test_ties_go_to_background_and_then_to_the_first_class():
    half = torch.tensor([[0.0, 0.5, 1.0, 0.5]]).expand(1, 2, 8, 4)
    images, labels = torch.zeros(1, 3, 8, 4), torch.ones(1, 2, dtype=torch.bool)
    found = pseudo_label(half, labels, images, None, RefineConfig(par_iterations=0))
    assert found[0].tolist() == [[0, 0, 1, 0]] * 8


def test_labels_of_tied_scores_are_those_of_argmax():
    maps = torch.randint(0, 5, (3, 4, 8, 8), generator=torch.Generator().manual_seed(0)) / 4
    maps[..., 0, 0], maps[..., 0, 1] = 0.0, 1.0  # each is scaled to 0..1 already
    scores = torch.cat([1 - maps.amax(1, keepdim=True), maps], dim=1)
    first, second = scores.topk(2, dim=1).values.unbind(1)
    assert (first == second).float().mean() > 0.2
    labels, images = torch.ones(3, 4, dtype=torch.bool), torch.zeros(3, 3, 8, 8)
    found = pseudo_label(maps, labels, images, None, RefineConfig(par_iterations=0))
    assert torch.equal(found, scores.argmax(1))


@pytest.mark.parametrize("cut", [0.3, 0.5, 0.8])
def test_background_cut_is_the_cam_value_that_ties_with_background(cut):
    ramp = torch.linspace(0, 1, 40).expand(1, 1, 24, 40)
    images, labels = torch.zeros(1, 3, 24, 40), torch.ones(1, 1, dtype=torch.bool)
    found = pseudo_label(ramp, labels, images, None, RefineConfig(par_iterations=0, background_cut=cut))
    assert torch.equal(found == 1, ramp[:, 0] > cut)


def test_pseudo_label_holds_only_background_and_the_classes_of_the_image():
    refined, images = scene()
    found = pseudo_label(refined + 5, LABELS, images, None, RefineConfig(par_iterations=2))
    for target, present in zip(found, LABELS):
        assert set(target.unique().tolist()) <= {0, *(present.nonzero().flatten() + 1).tolist()}


def test_invalid_pixels_become_255_and_no_others():
    refined, images = scene()
    valid = torch.ones(B, 24, 40, dtype=torch.bool)
    valid[0, :, :10] = False
    plain = pseudo_label(refined, LABELS, images, None, RefineConfig(par_iterations=2))
    found = pseudo_label(refined, LABELS, images, valid, RefineConfig(par_iterations=2))
    assert (found[~valid] == 255).all() and torch.equal(found[valid], plain[valid])


def test_an_image_without_a_class_is_background():
    refined, images = scene()
    found = pseudo_label(
        refined,
        LABELS & torch.tensor([[True], [False], [True]]),
        images,
        None,
        RefineConfig(par_iterations=2),
    )
    assert not found[1].any() and found[0].any()
    found = pseudo_label(refined, torch.zeros_like(LABELS), images, None, RefineConfig(par_iterations=2, ignore_margin=0.5))
    assert not found.any()


def test_pseudo_label_is_the_same_under_autocast():
    refined, images = (values.float() for values in scene())
    config = RefineConfig(par_iterations=5)
    with torch.autocast("cpu", torch.bfloat16):
        found = pseudo_label(refined, LABELS, images, None, config)
    assert torch.equal(found, pseudo_label(refined, LABELS, images, None, config))


def test_activation_is_single_precision_under_autocast(features):
    patches, queries = features.patches.float(), randn(B, K, D, seed=2).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = class_activation(patches, queries, LABELS)
        assert class_activation(patches.bfloat16(), queries, LABELS).dtype == torch.float32
    assert torch.equal(found, class_activation(patches, queries, LABELS))
