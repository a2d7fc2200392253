"""Heads, teacher and crops of ToCo and SeCo, and their views."""

import pytest
import torch
import torch.nn.functional as F

from vdalib.methods.parts import ASPP, LargeFOV, ProjectionHead, crops, draw_places, momentum_update
from vdalib.methods.views import ContrastViews


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def test_projections_are_unit_vectors_and_their_products_with_unit_rows():
    torch.manual_seed(0)
    tokens = torch.randn(5, 12)
    plain = ProjectionHead(12, 16, 8)
    torch.testing.assert_close(plain(tokens).norm(dim=1), torch.ones(5))
    head = ProjectionHead(12, 16, 8, out=64)
    head.layers.load_state_dict(plain.layers.state_dict())
    rows = head.rows / head.rows.norm(dim=1, keepdim=True)
    torch.testing.assert_close(head(tokens), plain(tokens) @ rows.T)
    head.rows.data *= 3
    torch.testing.assert_close(head(tokens), plain(tokens) @ rows.T)  # gains are fixed at 1


def test_a_product_of_projections_is_about_out_over_bottleneck_cosines():
    torch.manual_seed(0)
    head = ProjectionHead(12, 16, 64, out=4096)
    u, v = torch.randn(2, 12) * 20
    cosine = F.cosine_similarity(head.layers(u), head.layers(v), dim=0)
    assert (head(u) @ head(v)).item() == pytest.approx(64 * cosine.item(), abs=6.4)
    assert (head(u) @ head(u)).item() == pytest.approx(64, abs=6.4)


def test_the_decoders_parameters_are_as_many_as_published():
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters()) / 1e6

    assert count(LargeFOV(768, 21)) == pytest.approx(5.9, abs=0.05)
    assert count(ASPP(768, 21)) == pytest.approx(0.58, abs=0.01)


def test_aspp_sums_its_branches_and_keeps_the_grid():
    head, tokens = ASPP(4, 3, (1, 2)), torch.randn(1, 4, 6, 6)
    expected = sum(F.conv2d(tokens, b.weight, b.bias, padding=d, dilation=d) for b, d in zip(head.branches, (1, 2)))
    torch.testing.assert_close(head(tokens), expected)
    assert LargeFOV(4, 3, 8, 2)(tokens).shape == (1, 3, 6, 6)


def test_momentum_update_by_hand():
    teacher, student = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for module, value in ((teacher, 1.0), (student, 3.0)):
        for parameter in module.parameters():
            parameter.data.fill_(value)
    momentum_update(teacher, student, 0.9)
    momentum_update(teacher, student, 0.9)  # 1 -> 1.2 -> 1.38
    assert [p.item() for p in teacher.parameters()] == pytest.approx([1.38, 1.38])
    assert all(p.item() == 3 for p in student.parameters())


def test_places_are_drawn_without_replacement_among_the_allowed_ones_inside_the_margin():
    allowed = torch.zeros(20, 20, dtype=torch.bool)
    allowed[:, 7] = True  # rows 4 to 15 are inside
    picture = torch.zeros(20, 20, dtype=torch.bool)
    picture[:, :10] = True  # the rest is padding
    places = draw_places(allowed, picture, 12, 4, dice())
    assert sorted(places.tolist()) == [[row, 7] for row in range(4, 16)]
    assert torch.equal(draw_places(allowed, picture, 5, 4, dice(1)), draw_places(allowed, picture, 5, 4, dice(1)))
    few = draw_places(allowed, picture, 13, 4, dice())  # one more than there are: all places of the picture
    assert len({*map(tuple, few.tolist())}) == 13 and few.min() >= 4 and few.max() < 16
    assert (few[:, 1] != 7).any() and few[:, 1].max() < 10
    many = draw_places(allowed, picture, 73, 4, dice())  # one more than the picture has
    assert len({*map(tuple, many.tolist())}) == 73 and many.min() >= 4 and many[:, 1].max() >= 10


def test_crops_are_windows_round_their_places():
    image = torch.arange(100).view(1, 10, 10)
    found = crops(image, torch.tensor([[2, 3], [8, 8]]), 4)
    assert torch.equal(found, torch.stack([image[:, 0:4, 1:5], image[:, 6:10, 6:10]]))


PICTURE = (torch.rand(3, 40, 50, generator=dice()) * 255).to(torch.uint8)
WINDOW, INSIDE = PICTURE[:, :32, :32].clone(), torch.ones(32, 32, dtype=torch.bool)
INSIDE[:, 24:] = False


def views(seed=0, main_photometric=True):
    item = {"images": WINDOW / 255, "valid": INSIDE}
    return ContrastViews(main_photometric, (0.1, 1.0))(PICTURE, item, dice(seed))


def test_views_depend_on_their_generator_alone_and_leave_the_global_one():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = views(), views(), views(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.keys() == {"main", "second", "source", "seed"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first)
    assert all(
        view.shape == (3, 32, 32) and 0 <= view.min() and view.max() <= 1 for name, view in first.items() if name != "seed"
    )


def test_secos_main_view_is_the_crop_itself_on_black():
    assert torch.equal(views(main_photometric=False)["main"], WINDOW * INSIDE / 255)


def test_main_view_and_source_stay_where_the_crop_is():
    """A bright corner keeps its place under every seed: neither is mirrored again."""
    window = torch.full((3, 32, 32), 40 / 255)
    window[:, :8, :8] = 220 / 255
    item = {"images": window, "valid": torch.ones(32, 32, dtype=torch.bool)}
    for seed in range(20):
        made = ContrastViews(True, (0.1, 1.0))(PICTURE, item, dice(seed))
        for name in ("main", "source"):
            brightness = made[name].mean(0)
            assert brightness[:6, :6].mean() > brightness[:6, -6:].mean(), (seed, name)
