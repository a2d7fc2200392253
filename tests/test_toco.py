"""ToCo's own parts, against loops and cases worked by hand."""

import math

import pytest
import torch

from vdalib.methods.toco import class_token_contrast, crop_flags, region_mask


def literal_contrast(student, teacher, flags, temperature, extra):
    total = 0.0
    for queries, views, positive in zip(student, teacher, flags.tolist()):
        image = 0.0
        for view in views:
            e = [math.exp((view @ query).item() / temperature) for query in queries]
            negatives = sum(value for value, kept in zip(e, positive) if not kept)
            for value, kept in zip(e, positive):
                image += -math.log(value / (value + negatives + 1e-4)) / 2 if kept else 0
            image += math.log(1 + negatives + 1e-4) / 2 if extra else 0
        total += image / (sum(positive) + 1e-4)
    return total / len(student)


@pytest.mark.parametrize("extra", [True, False])
def test_class_token_contrast_is_its_formula_and_no_gradient_goes_to_the_teacher(extra):
    torch.manual_seed(0)
    student = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    flags = torch.tensor([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    loss = class_token_contrast(student, teacher, flags, 0.5, extra)
    assert loss.item() == pytest.approx(literal_contrast(student, teacher, flags, 0.5, extra))
    loss.backward()
    assert teacher.grad is None and student.grad.any()
    assert torch.autograd.gradcheck(lambda q: class_token_contrast(q, teacher, flags, 0.5, extra), student)


def test_class_token_contrast_by_hand():
    """One positive and one negative, both at right angles to the teacher: e = 1 and E = 1."""
    student, teacher = torch.tensor([[[0.0, 1.0], [0.0, 2.0]]]), torch.tensor([[[1.0, 0.0]]])
    flags = torch.tensor([[True, False]])
    assert class_token_contrast(student, teacher, flags, 1.0, False).item() == pytest.approx(math.log(2), abs=2e-4)
    assert class_token_contrast(student, teacher, flags, 1.0, True).item() == pytest.approx(2 * math.log(2), abs=4e-4)


def test_class_token_contrast_stays_finite_where_exponentials_would_not():
    student, teacher = torch.full((1, 2, 1), 100.0, requires_grad=True), torch.full((1, 2, 1), 10.0)
    loss = class_token_contrast(student, teacher, torch.tensor([[True, False]]), 0.5)
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()


def test_class_token_contrasts_of_two_processes_add_up_to_that_of_one():
    torch.manual_seed(0)
    batch = torch.randn(4, 5, 3), torch.randn(4, 2, 3), torch.rand(4, 5) < 0.5
    halves = [class_token_contrast(*parts, 0.5, total=lambda count: 2 * count) for parts in zip(*(x.chunk(2) for x in batch))]
    torch.testing.assert_close(sum(halves), class_token_contrast(*batch, 0.5))


def test_region_mask_by_hand():
    cams = torch.tensor([[[[0.25, 0.26, 0.7, 0.9]], [[1.0, 1.0, 1.0, 1.0]]]])
    valid = torch.tensor([[[True, True, True, False]]])
    assert region_mask(cams, torch.tensor([[True, False]]), 0.7, 0.25, valid).tolist() == [[[0, 1, 2, 255]]]


def test_crop_flags_by_hand():
    """Of 100 pixels: 20 uncertain ones are too few, 21 suffice, 10 of a class are too few, 11 suffice; padding counts nothing."""
    regions = torch.zeros(10, 50, dtype=torch.long)
    regions[:2, :10] = 1
    regions[:2, 10:20] = 1
    regions[5, 15] = 1
    regions[0, 20:30] = 2
    regions[0, 30:40], regions[1, 30] = 2, 2
    regions[:, 40:] = 255
    places = torch.tensor([[5, 5 + 10 * n] for n in range(5)])
    assert crop_flags(regions, places, 10).tolist() == [False, True, False, True, False]
