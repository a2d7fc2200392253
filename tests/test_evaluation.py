import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vdalib.evaluation import ConfusionMatrix, SeedCurve


def brute_force_iou(predictions, targets, num_classes):
    """Set by set, over all pixels of the data set."""
    pairs = [(p, t) for a, b in zip(predictions, targets) for p, t in zip(a.ravel(), b.ravel()) if t != 255]
    ious = []
    for k in range(num_classes):
        intersection = sum(p == k and t == k for p, t in pairs)
        union = sum(p == k or t == k for p, t in pairs)
        ious.append(intersection / union if any(t == k for _, t in pairs) else float("nan"))
    return np.array(ious)


def random_maps(seed, values, count=3, shape=(9, 7)):
    return np.random.default_rng(seed).choice(values, (count, *shape)).astype(np.uint8)


def test_miou_is_that_of_brute_force_over_the_data_set():
    predictions, targets = random_maps(0, range(5)), random_maps(1, [0, 1, 2, 4, 255])
    matrix = ConfusionMatrix(5)
    for prediction, target in zip(predictions, targets):
        matrix.update(prediction, torch.from_numpy(target))
    expected = brute_force_iou(predictions, targets, 5)
    np.testing.assert_allclose(matrix.iou(), expected, atol=1e-12)
    assert np.isnan(matrix.iou()[3])
    assert matrix.mean_iou() == pytest.approx(np.nanmean(expected), abs=1e-12)


def test_miou_is_not_the_mean_over_images():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([[0, 0, 0, 1]]), np.array([[0, 0, 0, 1]]))
    matrix.update(np.array([[1, 1, 0, 0]]), np.array([[0, 0, 0, 1]]))
    np.testing.assert_allclose(matrix.iou(), [4 / 7, 1 / 4])


def test_void_truth_is_left_out_and_void_prediction_is_a_miss():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 1, 1, 255, 255]), np.array([0, 255, 1, 1, 255]))
    np.testing.assert_allclose(matrix.iou(), [1.0, 0.5])
    assert matrix.undecided.tolist() == [0, 1]


def test_matrices_of_parts_add_up_to_the_whole():
    predictions, targets = random_maps(2, [0, 1, 2, 255], 4), random_maps(3, [0, 1, 2, 255], 4)
    whole, parts = ConfusionMatrix(3), [ConfusionMatrix(3), ConfusionMatrix(3)]
    whole.update(predictions, targets)
    for i in range(4):
        parts[i % 2].update(predictions[i], targets[i])
    total = parts[0] + parts[1]
    np.testing.assert_array_equal(total.counts, whole.counts)
    np.testing.assert_array_equal(total.undecided, whole.undecided)


def test_nothing_counted_is_nan():
    assert np.isnan(ConfusionMatrix(3).mean_iou())


def test_wrong_label_maps_are_refused():
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=r"prediction: shape \(2,\) differs from target \(3,\)"):
        matrix.update(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"prediction: values 0..4, expected 0..2 or 255"):
        matrix.update(np.array([0, 4]), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"target: values 0..3, expected 0..2 or 255"):
        matrix.update(np.array([0, 1]), np.array([0, 3]))
    with pytest.raises(ValueError, match="cannot add matrices of 3 and 4 classes"):
        matrix + ConfusionMatrix(4)
    with pytest.raises(TypeError):
        matrix + 1


def random_seeds(seed, batch=2, classes=3, shape=(8, 9)):
    generator = torch.Generator().manual_seed(seed)
    cam = torch.rand(batch, classes, *shape, generator=generator)
    labels = torch.rand(batch, classes, generator=generator) < 0.6
    values = torch.tensor([*range(classes + 1), 255])
    masks = values[torch.randint(len(values), (batch, *shape), generator=generator)]
    return cam, labels, masks


def test_seed_curve_is_a_confusion_matrix_for_every_threshold():
    thresholds = [0.9, 0.25, 0.5]
    curve, matrices = SeedCurve(thresholds), [ConfusionMatrix(4) for _ in thresholds]
    for seed in range(3):
        cam, labels, masks = random_seeds(seed)
        curve.update(cam, labels, masks)
        scores = cam * labels[:, :, None, None]
        for threshold, matrix in zip(sorted(thresholds), matrices):
            stacked = torch.cat([torch.full_like(scores[:, :1], threshold), scores], 1)
            matrix.update(stacked.argmax(1), masks)
    for ours, expected in zip(curve.confusions(), matrices, strict=True):
        np.testing.assert_array_equal(ours.counts, expected.counts)
    means = [matrix.mean_iou() for matrix in matrices]
    np.testing.assert_allclose(curve.mean_iou(), means)
    threshold, best = curve.best()
    assert best == max(means) and threshold == pytest.approx(sorted(thresholds)[int(np.argmax(means))])


def test_a_perfect_cam_reaches_one_and_a_small_cam_is_resized():
    labels = torch.tensor([[True, False]])
    cam = torch.zeros(1, 2, 4, 4)
    cam[0, 0, :, 2:] = 1
    cam[0, 1] = 2  # of a class that the image does not have
    masks = np.kron(cam[:, 0].numpy(), np.ones((4, 4))).astype(np.uint8)
    curve = SeedCurve([0.5])
    curve.update(cam, labels, masks)
    assert curve.best() == (0.5, 1.0)
    resized = SeedCurve([0.3])
    resized.update(F.interpolate(cam, (16, 16), mode="bilinear"), labels, masks)
    other = SeedCurve([0.3])
    other.update(cam, labels, masks)
    assert resized.best() == other.best()


def test_an_image_without_label_is_all_background():
    curve = SeedCurve()
    curve.update(torch.ones(1, 2, 3, 3), torch.zeros(1, 2, dtype=torch.bool), torch.zeros(1, 3, 3))
    assert curve.best()[1] == 1.0


def test_wrong_seeds_are_refused():
    with pytest.raises(ValueError, match="thresholds: expected at least one"):
        SeedCurve([])
    with pytest.raises(ValueError, match="nothing was counted yet"):
        SeedCurve().best()
    with pytest.raises(ValueError, match=r"masks: label 3, expected 0..2 or 255"):
        SeedCurve().update(torch.ones(1, 2, 2, 2), torch.ones(1, 2, dtype=torch.bool), np.full((1, 2, 2), 3))
    void = SeedCurve()
    void.update(torch.rand(1, 1, 4, 4), torch.tensor([[True]]), torch.full((1, 4, 4), 255))
    with pytest.raises(ValueError, match="every mask was void"):
        void.best()
