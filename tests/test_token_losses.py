"""Patch token contrast and the gated CRF energy, against loops, closed forms and finite differences."""

import math

import pytest
import torch

from vdalib.methods.tokens import classification_loss
from vdalib.segmentation.losses import affinity_loss, gated_crf_energy, token_contrast, token_pairs


def literal_contrast(tokens, labels):
    attract, repel, near, far = 0.0, 0.0, 0, 0
    for image, marks in zip(tokens.flatten(2), labels.flatten(1).tolist()):
        for u in range(len(marks)):
            for v in range(len(marks)):
                if u == v or 255 in (marks[u], marks[v]):
                    continue
                x, y = image[:, u], image[:, v]
                a = abs((x @ y) / (x.norm() * y.norm()))
                if marks[u] == marks[v]:
                    attract, near = attract + a, near + 1
                else:
                    repel, far = repel + a, far + 1
    return 0.5 * (1 - attract / (near + 1)) + 0.5 * repel / (far + 1)


def test_the_classification_loss_is_cross_entropy_of_every_class_by_hand():
    """Two pictures of two classes; log(1 + e^-x) is what a class in the label costs, log(1 + e^x) what another does."""
    logits, labels = torch.tensor([[2.0, -1.0], [0.0, 3.0]]), torch.tensor([[True, False], [False, True]])
    first = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.0))) / 2
    second = (math.log1p(math.exp(0.0)) + math.log1p(math.exp(-3.0))) / 2
    assert classification_loss(logits, labels, lambda count: count).item() == pytest.approx((first + second) / 2)


def test_token_contrast_is_its_formula_over_ordered_pairs():
    torch.manual_seed(0)
    tokens = torch.randn(2, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 255])[torch.randint(4, (2, 3, 3))]
    torch.testing.assert_close(token_contrast(tokens, labels), literal_contrast(tokens, labels))
    assert torch.autograd.gradcheck(lambda x: token_contrast(x, labels), tokens)


def test_token_contrast_by_hand():
    """Three tokens: two at right angles share a label, the third lies opposite the first with another label."""
    tokens = torch.tensor([[[1.0, 0.0, -2.0]], [[0.0, 3.0, 0.0]]])[None].view(1, 2, 1, 3)
    labels = torch.tensor([[[1, 1, 0]]])
    # positives (0,1), (1,0): a = 0, so 1/2 (1 - 0/3); negatives (0,2), (2,0) with a = |-1|, (1,2), (2,1) with 0: 1/2 * 2/5
    assert token_contrast(tokens, labels).item() == pytest.approx(0.5 + 0.2)


def test_where_every_token_is_ignored_the_contrast_is_a_half_without_gradient():
    tokens = torch.randn(1, 4, 2, 2, requires_grad=True)
    loss = token_contrast(tokens, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss.item() == 0.5 and not tokens.grad.any()


def test_pairs_without_the_diagonal_and_without_a_radius_are_what_is_left_of_the_affinity_losses_pairs():
    labels = torch.randint(3, (2, 4, 4))
    for one, other in zip(token_pairs(labels), token_pairs(labels, radius=3)):
        assert torch.equal(one, other)  # a radius of 3 reaches all of a grid of 4
    with_itself, without = token_pairs(labels)[0], token_pairs(labels, keep_diagonal=False)[0]
    assert torch.equal(with_itself & ~without, torch.eye(16, dtype=torch.bool).expand(2, -1, -1))
    assert affinity_loss(torch.ones(2, 16, 16), torch.zeros(2, 4, 4, dtype=torch.long)) == 0


def halves(loss, batch):
    """The sum of what two processes with half a batch each have, `total` being known to both."""
    counts = [[], []]
    for which in (0, 1):
        loss(*(part.chunk(2)[which] for part in batch), total=lambda count, w=which: counts[w].append(count) or count)
    parts = 0
    for which in (0, 1):
        known = iter([a + b for a, b in zip(*counts)])
        parts = parts + loss(*(part.chunk(2)[which] for part in batch), total=lambda count, k=known: next(k))
    return parts


def test_losses_of_two_processes_add_up_to_that_of_one():
    torch.manual_seed(2)
    tokens, labels = torch.randn(4, 5, 3, 3, dtype=torch.float64), torch.randint(3, (4, 3, 3))
    torch.testing.assert_close(halves(token_contrast, (tokens, labels)), token_contrast(tokens, labels))
    batch = energy_case(4)
    torch.testing.assert_close(halves(gated_crf_energy, batch).float(), gated_crf_energy(*batch).float())


def energy_case(count=2):
    torch.manual_seed(3)
    images = torch.randint(256, (count, 3, 4, 5)).double()
    probabilities = torch.randn(count, 3, 4, 5, dtype=torch.float64).softmax(1)
    labels = torch.tensor([0, 1, 2, 255])[torch.randint(4, (count, 4, 5))]
    valid = torch.ones(count, 4, 5, dtype=torch.bool)
    valid[0, :, :2] = False
    return images, probabilities, labels, valid


def literal_energy(images, probabilities, labels, valid, sigma_xy, sigma_rgb):
    """The energy, its gates and its sums G (A S) box, pixel by pixel."""
    energy, sums = 0.0, torch.zeros_like(probabilities)
    for i in range(len(images)):
        pixels = [(y, x) for y in range(4) for x in range(5) if valid[i, y, x]]
        for y, x in pixels:
            gate = 1.0 if labels[i, y, x] == 255 else max(1 - probabilities[i, :, y, x].max().item(), 0)
            for other in pixels:
                far = ((y - other[0]) ** 2 + (x - other[1]) ** 2) / (2 * sigma_xy**2)
                unlike = (images[i, :, y, x] - images[i, :, other[0], other[1]]).square().sum().item() / (2 * sigma_rgb**2)
                sums[i, :, y, x] += gate * math.exp(-far - unlike) * probabilities[i, :, other[0], other[1]]
            energy += (probabilities[i, :, y, x] * sums[i, :, y, x]).sum().item()
    return energy, sums


@pytest.mark.parametrize("rows", [1, 7, 512])
def test_energy_and_its_gradient_are_the_sums_over_all_pairs(rows):
    images, probabilities, labels, valid = energy_case()
    energy, sums = literal_energy(images, probabilities, labels, valid, 2.0, 80.0)
    probabilities.requires_grad_()
    loss = gated_crf_energy(images, probabilities, labels, valid, 2.0, 80.0, scale=0.5, rows_at_once=rows)
    assert loss.item() == pytest.approx(-0.5 / 2 * energy, rel=1e-6)
    loss.backward()
    torch.testing.assert_close(probabilities.grad, -2 * 0.5 / 2 * sums, rtol=1e-6, atol=1e-9)


def test_an_image_that_is_all_padding_has_no_energy():
    images, probabilities, labels, valid = energy_case()
    assert gated_crf_energy(images, probabilities, labels, torch.zeros_like(valid)) == 0
