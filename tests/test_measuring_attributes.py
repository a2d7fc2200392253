"""The attribute report: patches and factors as a plain loop finds them, planted attributes found, baselines at equal M."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import run

from vdalib.data.partworld import PARTS, PartWorld
from vdalib.evaluation import measuring_attributes as measuring
from vdalib.evaluation.measuring import collect_prototypes
from vdalib.evaluation.measuring_attributes import GMM, KMEANS, LATENT, METHODS, MIXTURE, RANDOM, TOLD, Items
from vdalib.evaluation.run import Run

M, IMAGES = 4, 60
pytestmark = pytest.mark.usefixtures("random_clip")


@pytest.fixture(scope="module")
def opened(tmp_path_factory, random_clip):
    return Run.load(run(tmp_path_factory.mktemp("run"), {"mixture.attributes": M}).run_dir)


@pytest.fixture(scope="module")
def seen(opened):
    return measuring.observe(opened, PartWorld("train", 0, IMAGES))


def test_a_patch_belongs_to_the_commonest_part_of_the_class_that_covers_a_quarter_of_it():
    world, found_some = PartWorld("val", 3), 0
    for index in range(4):
        mask, expected = world.part_mask(index), []
        height, width = mask.shape
        for row in range(0, height, 8):
            for column in range(0, width, 8):
                pixels = [int(x) for x in mask[row : row + 8, column : column + 8].ravel() if x]
                names = [PARTS[x - 1][0] for x in pixels]
                owner = max(PartWorld.class_names, key=names.count)
                own = [x for x, name in zip(pixels, names) if name == owner]
                expected.append(max(sorted(set(own)), key=own.count) if len(own) >= 16 else 0)
        np.testing.assert_array_equal(measuring.patch_parts(mask, (height // 8, width // 8)), expected)
        found_some += np.count_nonzero(expected)
    assert found_some > 20


def test_instances_are_the_reliable_prototypes_with_the_factors_they_were_drawn_from(opened, seen):
    world = PartWorld("train", 0, IMAGES)
    expected = collect_prototypes(opened, world)
    keep = expected.reliable
    torch.testing.assert_close(seen.prototypes, expected.prototypes[keep], atol=1e-5, rtol=1e-4)
    assert torch.equal(seen.classes, expected.classes[keep]) and torch.equal(seen.images, expected.images[keep])
    names = {name: {} for name in ("main colour", "second colour", "pose", "scene", "parts present")}
    counted = 0
    for row, (image, k) in enumerate(zip(seen.images.tolist(), seen.classes.tolist())):
        factors = world.factors(image)
        own = [o for o in factors.objects if o.class_name == PartWorld.class_names[k]]
        numbers = {name: values[row] for name, values in seen.factors.items()}
        if len(own) != 1:
            assert set(numbers.values()) == {-1}
            continue
        counted += 1
        values = own[0].main_colour, own[0].second_colour, own[0].pose, factors.scene, own[0].parts
        for (name, known), value in zip(names.items(), values):
            assert known.setdefault(value, numbers[name]) == numbers[name]  # one number for one value
    assert counted > 5 and all(len(set(known.values())) == len(known) for known in names.values())


def test_patches_keep_their_place(seen):
    items, parts, objects = seen.true_patches()
    rows = [(i, n) for i in range(IMAGES) for n in range(seen.parts.shape[1]) if seen.parts[i, n]]
    assert parts.tolist() == [seen.parts[row] for row in rows]
    torch.testing.assert_close(items.features, torch.stack([seen.patches[i, :, n] for i, n in rows]))
    owners = [PartWorld.class_names.index(PARTS[part - 1][0]) for part in parts]
    assert items.classes.tolist() == owners and objects.tolist() == [10 * i + k for (i, _), k in zip(rows, owners)]
    world = PartWorld("train", 0, IMAGES)
    for i, (h, w) in enumerate(seen.grids):
        np.testing.assert_array_equal(seen.parts[i, : h * w], measuring.patch_parts(world.part_mask(i), (h, w)))
        assert not (seen.parts[i, h * w :].any() or seen.patches[i, :, h * w :].any() or seen.predicted[i, :, h * w :].any())
    inside = seen.predicted_patches()
    assert len(inside.features) == seen.predicted.sum() and set(inside.classes.tolist()) == set(seen.classes.tolist())


def test_peaks_are_those_of_the_cams(seen):
    k = PartWorld.class_names.index(PARTS[seen.parts[0].max() - 1][0])
    centres = torch.randn(M, seen.patches.shape[1], generator=torch.Generator().manual_seed(0))
    peaks, expected = measuring.cam_peaks(seen, centres, k), []
    for i in range(IMAGES):
        own = [part if part and PARTS[part - 1][0] == PartWorld.class_names[k] else 0 for part in seen.parts[i]]
        if any(own):
            h, w = seen.grids[i]
            cosines = F.cosine_similarity(seen.patches[i][None, :, : h * w], centres[:, :, None], dim=1)  # (M, N)
            expected.append([own[int(row.argmax())] for row in cosines])
    assert peaks.tolist() == expected


def planted(dim=8, images=40, noise=0.05):
    """A class 0 (aeroplane) alone: M of its parts in every image, each patch at its part; prototypes at their colours."""
    dice = np.random.default_rng(0)
    first = [i + 1 for i, (name, _) in enumerate(PARTS) if name == PartWorld.class_names[0]][:M]
    parts = np.zeros((images, 25), int)
    parts[:, :24] = dice.permuted(np.tile(np.repeat(first, 6), (images, 1)), axis=1)
    colours = np.arange(images) % M
    at = torch.eye(dim)
    patches = at[torch.from_numpy(np.where(parts > 0, parts, 6))] + noise * torch.from_numpy(dice.normal(size=(images, 25, dim)))
    factors = {"main colour": colours, "second colour": dice.permutation(colours)}
    predicted = torch.zeros(images, len(PartWorld.class_names), 25, dtype=torch.bool)
    predicted[:, 0, :24] = True
    return measuring.Seen(
        F.normalize(patches.float(), dim=-1).transpose(1, 2), [(5, 5)] * images, predicted,
        at[colours] + noise * torch.from_numpy(dice.normal(size=(images, dim))).float(),
        torch.zeros(images, dtype=torch.long), torch.arange(images), parts, factors,
    )  # fmt: skip


class Directions:
    """An assembler whose attributes are the first M axes."""

    latent = staticmethod(lambda features: 2 * features)

    def responses(self, z, classes):
        return z[:, :M].softmax(-1)

    def attributes(self):
        return torch.eye(8)[:M].expand(len(PartWorld.class_names), -1, -1)


@pytest.fixture(scope="module")
def report():
    world = planted()
    fake = SimpleNamespace(
        config=SimpleNamespace(mixture=SimpleNamespace(attributes=M)), class_names=PartWorld.class_names, device="cpu",
        assembler=Directions(), mixture=SimpleNamespace(flow=SimpleNamespace(inverse=lambda z: z / 2)), describes=lambda k: True,
    )  # fmt: skip
    return measuring.attribute_report(fake, world, world, permutations=99)


@pytest.mark.parametrize("method", [LATENT, KMEANS, GMM])
def test_planted_attributes_are_found_and_unplanted_ones_are_not(report, method):
    colours = report["instances"][method]
    assert colours["main colour"]["nmi"] > 0.99 and colours["main colour"]["p"] == 0.01
    assert abs(colours["second colour"]["ari"]) < 0.1
    patches, peaks = report["patches"][method], report["pointing"][method]
    assert min(patches["nmi"], patches["ari"], patches["purity"]) > 0.99 and patches["null_nmi"] < 0.05
    assert peaks["consistency"] > 0.99 and peaks["favourites"] == M and peaks["p"] == 0.01
    assert patches["named"] == M and patches["used"] == pytest.approx(M, abs=0.1)
    assert report["inside"][method]["correlation"] == pytest.approx(-1 / (M - 1), abs=0.05)  # of M exclusive places


def test_the_mixture_is_asked_through_its_assembler_and_chance_finds_nothing(report):
    assert report["instances"][MIXTURE]["main colour"]["nmi"] > 0.99  # colours are planted on its axes
    assert report["patches"][TOLD]["nmi"] > 0.99 and TOLD not in report["instances"]
    assert report["patches"][RANDOM]["nmi"] < 0.02 and report["patches"][RANDOM]["p"] > 0.01
    assert report["patches"][RANDOM]["named"] == 0 and report["inside"][RANDOM]["correlation"] > 0
    assert report["pointing"][RANDOM]["consistency"] < report["pointing"][KMEANS]["consistency"]
    assert [*report["instances"]] == [*METHODS] and [*report["patches"]] == [*METHODS, TOLD]
    for table in (report["patches"], *report["instances"].values()):
        for numbers in table.values():
            assert numbers["classes"][PartWorld.class_names[0]]["n"] == numbers["n"]  # the only class


def test_a_real_run_is_reported_with_the_components_its_responses_name(opened, seen):
    found = measuring.attribute_report(opened, seen, seen, permutations=9)
    k = next(iter(found["patches"][MIXTURE]["classes"]))
    assert 0 <= found["patches"][MIXTURE]["nmi"] <= 1
    k = PartWorld.class_names.index(k)
    own = seen.prototypes[seen.classes == k]
    z, _ = opened.mixture.flow(own)
    energy = (z[:, None] - opened.mixture.gmm.attribute_centres()[k]).square().sum(-1) / 2
    expected = (opened.mixture.gmm.log_attribute_weights[k] - energy).argmax(1)
    components = measuring.mixture_components(opened)
    assert components.assign(own, k).tolist() == expected.tolist()
    torch.testing.assert_close(components.centres[k], opened.mixture.flow.inverse(opened.mixture.gmm.attribute_centres())[k])


def test_correlations_inside_objects_and_the_table_of_parts_are_those_of_a_plain_loop(opened, seen):
    items, parts, objects = seen.true_patches()
    k = int(items.classes.bincount().argmax())
    components, own = measuring.mixture_components(opened), (items.classes == k).numpy()
    found = measuring.component_report({"mixture": components}, seen, [k], permutations=3)
    expected = []
    for number in np.unique(objects[own]):
        here = torch.from_numpy(objects == number)
        if here.sum() >= 4:
            cams = F.cosine_similarity(components.centres[k][:, None], items.features[here][None], dim=2)
            expected.append(np.corrcoef(cams)[np.triu_indices(M, 1)].mean())
    inside = found["inside"]["mixture"]
    assert inside["correlation"] == pytest.approx(np.mean(expected), abs=1e-3) and inside["n"] == len(expected) > 3
    assert inside["classes"][PartWorld.class_names[k]] == {name: inside[name] for name in ("correlation", "n")}

    table, chosen = measuring.part_table(seen, k, components, M), components.assign(items.features[own], k)
    for column, (_, name) in enumerate(part for part in PARTS if part[0] == PartWorld.class_names[k]):
        number = PARTS.index((PartWorld.class_names[k], name)) + 1
        assert table[:, column].tolist() == [sum((chosen == i) & (parts[own] == number)) for i in range(M)]
    assert table.sum() == own.sum()


def test_baselines_leave_out_classes_with_fewer_items_than_components():
    items = Items(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0] * 6 + [2] * 3))
    for name in (KMEANS, GMM, RANDOM):
        found = measuring.fitted_components(name, items, M)
        assert set(found.centres) == {0} and found.centres[0].shape == (M, 3)
        assert set(found.assign(items.features, 0)) <= set(range(M))


def test_a_report_without_enough_prototypes_says_what_to_do(opened, seen):
    config = SimpleNamespace(mixture=SimpleNamespace(attributes=1000))
    few = SimpleNamespace(config=config, class_names=PartWorld.class_names)
    with pytest.raises(ValueError, match="no class that the mixture met has 1000 reliable prototypes for 1000 comp"):
        measuring.attribute_report(few, seen, seen)


def test_a_report_leaves_out_a_class_that_the_mixture_never_met(opened, seen, monkeypatch):
    every = measuring.attribute_report(opened, seen, seen, 1)["patches"][MIXTURE]["classes"]
    k = next(k for k, name in enumerate(opened.class_names) if name in every)
    describes = opened.describes
    monkeypatch.setattr(opened, "describes", lambda j: j != k and describes(j))
    found = measuring.attribute_report(opened, seen, seen, 1)["patches"][MIXTURE]["classes"]
    assert every.keys() - found.keys() == {opened.class_names[k]}


def test_a_component_map_shows_the_components_of_the_class_where_it_is(opened, seen):
    k = int(seen.true_patches()[0].classes[0])
    components = measuring.mixture_components(opened)
    image = next(i for i in range(IMAGES) if any(p and PARTS[p - 1][0] == PartWorld.class_names[k] for p in seen.parts[i]))
    found = measuring.component_map(seen, image, k, components).ravel()
    for n, part in enumerate(seen.parts[image, : len(found)]):
        own = part > 0 and PARTS[part - 1][0] == PartWorld.class_names[k]
        assert found[n] == (components.assign(seen.patches[image][:, n][None], k)[0] if own else -1)
