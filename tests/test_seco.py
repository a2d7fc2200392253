"""SeCo's own parts, against loops and cases worked by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from vdalib.methods.seco import (
    PrototypeBank,
    Reservoir,
    decompose,
    patch_tags,
    prototype_contrast,
    published_contrast,
    supervised_contrast,
)


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def test_patch_tags_by_hand():
    """Ten by ten patches: a fifth occupied is background; one class names, two or uncertainty alone do not."""
    confident, occupied = torch.zeros(2, 5, 10, 10, dtype=torch.long)
    occupied[0, :2] = 1  # exactly a fifth
    occupied[1, :3] = 1  # uncertain only
    confident[2, :3], occupied[2, :3] = 7, 1
    confident[3, :3], confident[3, 9], occupied[3, :3] = 7, 20, 1  # two classes
    confident[4, 0], occupied[4, :3] = 20, 1  # one row of class 20 among uncertain ones
    assert patch_tags(confident, occupied).tolist() == [0, -1, 7, -1, 20]


def test_an_index_does_not_count_as_area():
    confident = torch.zeros(1, 10, 10, dtype=torch.long)
    confident[0, 0, 0] = 80
    assert patch_tags(confident, (confident > 0).long()).tolist() == [0]


def picture():
    """24 x 24: class 3 on the left, an uncertain band of 6, background; padding below."""
    regions = torch.zeros(24, 24, dtype=torch.long)
    regions[:, :9], regions[:, 9:15], regions[20:] = 3, -1, 255
    return regions


def test_decomposition_of_a_picture_of_one_class():
    regions = picture()
    places, tags, tag = decompose(regions, 10, 8, dice())
    assert tag == 3 and places.shape == (10, 2) and len({*map(tuple, places.tolist())}) == 10
    assert ((places[:, 1] >= 9) & (places[:, 1] < 15)).all() and (places >= 4).all() and (places < 20).all()
    assert (tags == 3).all()  # the band counts as the only class
    again = decompose(regions, 10, 8, dice())
    assert torch.equal(again[0], places) and torch.equal(again[1], tags)


def test_uncertain_places_of_a_picture_of_several_classes_stay_uncertain():
    regions = picture()
    places, tags, tag = decompose(regions, 12, 8, dice(), single=False)
    sees_class = places[:, 1] - 4 < 9  # the patch reaches the confident part
    assert tag == 3 and torch.equal(tags, torch.where(sees_class, 3, -1)) and 0 < sees_class.sum() < 12


def test_two_confident_classes_or_none_leave_the_picture_undecided():
    regions = picture()
    assert decompose(torch.where(regions == 3, 0, regions), 4, 8, dice())[2] == -1
    regions[:6, :9] = 2
    assert decompose(regions, 4, 8, dice())[2] == -1


def test_prototypes_follow_pictures_of_one_class_in_turn():
    torch.manual_seed(0)
    bank = PrototypeBank(3, 4)
    first = bank.vectors.clone()
    tokens = torch.randn(4, 4) * 28
    labels = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]]).bool()
    unit = F.normalize(tokens, dim=1)
    expected = first.clone()
    expected[0] = 0.9 * (0.9 * first[0] + 0.1 * unit[0]) + 0.1 * unit[3]
    expected[2] = 0.9 * first[2] + 0.1 * unit[2]
    bank.update(tokens, labels, 0.9)
    torch.testing.assert_close(bank.vectors, F.normalize(expected, dim=1))
    assert bank.images.tolist() == [2, 0, 1]
    published = PrototypeBank(3, 4)
    published.vectors.copy_(first)
    published.update(tokens, labels, 0.9, normalise=False)
    torch.testing.assert_close(published.vectors[2], F.normalize(0.9 * first[2] + 0.1 * tokens[2], dim=0))


def test_the_reservoir_holds_the_last_keys():
    reservoir, keys = Reservoir(5, 1), torch.arange(9.0)[:, None]
    assert len(reservoir.contents()[0]) == 0
    reservoir.put(keys[:3], torch.tensor([0, 1, 2]))
    assert reservoir.contents()[1].tolist() == [0, 1, 2]
    reservoir.put(keys[3:6], torch.tensor([3, 4, 5]))
    reservoir.put(keys[6:9], torch.tensor([6, 7, 8]))
    held, tags = reservoir.contents()
    assert sorted(tags.tolist()) == [4, 5, 6, 7, 8] and held[:, 0].tolist() == tags.tolist()


def unit(*shape):
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def test_prototype_contrast_is_its_formula_over_the_classes_present():
    torch.manual_seed(0)
    queries, prototypes, tags = unit(7, 5), unit(4, 5), torch.tensor([1, 0, -1, 3, 3, 1, 0])
    rows = []
    for query, tag in zip(queries, tags.tolist()):
        if tag >= 1:
            scores = {c: math.exp((query @ prototypes[c - 1]).item() / 0.1) for c in (1, 3)}
            rows.append(-math.log(scores[tag] / sum(scores.values())))
    assert prototype_contrast(queries, tags, prototypes).item() == pytest.approx(sum(rows) / 4)
    queries.requires_grad_(), prototypes.requires_grad_()
    prototype_contrast(queries, tags, prototypes).backward()
    assert prototypes.grad is None
    assert torch.autograd.gradcheck(lambda q: prototype_contrast(q, tags, prototypes), queries)


def test_prototype_contrast_by_hand():
    """One class present: nothing competes. Two at right angles, the query on the first: log(1 + exp(-1 / 0.5))."""
    queries, prototypes = torch.tensor([[1.0, 0.0]]), torch.eye(2)
    assert prototype_contrast(queries, torch.tensor([1]), prototypes).item() == 0
    both = torch.ones(2, dtype=torch.bool)
    found = prototype_contrast(queries, torch.tensor([1]), prototypes, both, temperature=0.5)
    assert found.item() == pytest.approx(math.log(1 + math.exp(-2)))
    unsettled = torch.tensor([False, True])
    assert prototype_contrast(queries, torch.tensor([1]), prototypes, unsettled).item() == 0  # its own class does not count yet
    queries.requires_grad_()
    none = prototype_contrast(queries, torch.tensor([-1]), prototypes)
    none.backward()
    assert none.item() == 0 and not queries.grad.any()


def test_supervised_contrast_is_its_formula():
    torch.manual_seed(0)
    queries, keys = unit(6, 5).requires_grad_(), unit(9, 5)
    tags, key_tags = torch.tensor([1, 0, -1, 2, 4, 1]), torch.tensor([1, 1, 0, -1, 2, 2, 3, 0, -1])
    rows = []
    for query, tag in zip(queries.detach(), tags.tolist()):
        scores = [(query @ key).item() / 0.08 for key in keys]
        bottom = math.log(sum(math.exp(s) for s, other in zip(scores, key_tags.tolist()) if other != -1))
        positives = [s - bottom for s, other in zip(scores, key_tags.tolist()) if other == tag != -1]
        if positives:
            rows.append(-sum(positives) / len(positives))
    assert len(rows) == 4
    assert supervised_contrast(queries, tags, keys, key_tags).item() == pytest.approx(sum(rows) / 4)
    assert torch.autograd.gradcheck(lambda q: supervised_contrast(q, tags, keys, key_tags), queries)


def test_supervised_contrast_by_hand():
    """The query lies on the key of its tag, at right angles to the other: log(1 + exp(-1 / 0.5)). Undecided keys do not count."""
    queries, keys = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = supervised_contrast(queries, torch.tensor([2]), keys, torch.tensor([2, 0, -1]), temperature=0.5)
    assert found.item() == pytest.approx(math.log(1 + math.exp(-2)))
    queries.requires_grad_()
    lonely = supervised_contrast(queries, torch.tensor([5]), keys, torch.tensor([2, 0, -1]))
    lonely.backward()
    assert lonely.item() == 0 and not queries.grad.any()


def literal_published(queries, tags, keys, key_tags, temperature=0.08):
    """SeCo sec. 7, steps 1 to 5, one number after the other."""
    tags, columns, rows, revised = tags.tolist(), key_tags.tolist(), [], []
    count = 0
    for query, tag in zip(queries, tags):
        products = [(query @ key).item() / temperature for key in keys]
        s = [0.0 if tag == -1 else value - max(products) for value in products]
        v = [value if tag == other and tag != -1 else 0.0 for value, other in zip(s, columns)]
        mean = sum(v) / len(v)
        below = sum(value < mean for value in v)
        if below / (len(v) - below) > 10:
            tag, v = 0, [0.0] * len(v)
        revised.append(tag)
        count += sum(value != 0 for value in v)
        bottom = sum(math.exp(value) for value, other in zip(s, columns) if other != -1 and math.exp(value) != 1)
        row = sum(v) - len(v) * math.log(bottom + 1e-12)
        rows.append(row if bottom > 0 and row < 0 else 0.0)
    return (-sum(rows) / count / len(rows) if count else 0.0), revised


def test_the_published_contrast_is_its_five_steps():
    torch.manual_seed(0)
    tags, key_tags = torch.tensor([1, 0, -1, 2, 4, 1]), torch.tensor([1, 1, 0, -1, 2, 2, 3, 0, -1, 1, 0, 0])
    for scale in (1.0, 0.03):  # near vectors: the sums of exponentials are large, rows are kept
        queries = F.normalize(unit(1, 5) + scale * unit(6, 5), dim=1)
        keys = F.normalize(queries.mean(0) + scale * unit(12, 5), dim=1)
        expected, revised = literal_published(queries, tags, keys, key_tags)
        loss, left = published_contrast(queries, tags, keys, key_tags)
        assert loss.item() == pytest.approx(expected) and left.tolist() == revised
        assert scale == 1.0 or loss > 0
    assert published_contrast(queries, torch.full((6,), 9), keys, key_tags)[0] == 0


def test_the_published_noise_filter_fires_where_nearly_all_keys_are_positive():
    """Twelve keys of the tag, eleven below the mean of the row, one far above it: tag and row are dropped."""
    keys = torch.tensor([[1.0, 0.0]] + [[-1.0, 0.0]] * 11)
    tags, key_tags = torch.tensor([5]), torch.full((12,), 5)
    loss, left = published_contrast(torch.tensor([[1.0, 0.0]]), tags, keys, key_tags)
    assert left.tolist() == [0] and loss == 0
    assert published_contrast(torch.tensor([[1.0, 0.0]]), tags, keys[:11], key_tags[:11])[1].tolist() == [5]
