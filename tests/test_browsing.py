"""The numbers behind the attribute browser: queries, maps, a patch, and which images are shown first."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import QUICK

from vdalib.config import Config
from vdalib.evaluation import ConfusionMatrix
from vdalib.evaluation.run import Run, whole_images
from vdalib.explore.album import WORST_FIRST
from vdalib.explore.browsing import (
    DESCRIPTION,
    FREE,
    FUSED,
    MAPS,
    OWN,
    PARTS,
    PREDICTION,
    PSEUDO_LABEL,
    QUERIES,
    REFINED,
    SEED,
    TEXT,
    TRUTH,
    Browser,
)
from vdalib.segmentation.cam import class_activation
from vdalib.training.trainer import Trainer


@pytest.fixture(scope="module")
def run(reference):
    return Run.load(reference)


@pytest.fixture(scope="module")
def browser(run):
    return Browser(run, gallery=24)


@pytest.fixture(scope="module")
def asked(browser):
    """An (image, class) that has responses."""
    pairs = ((i, k) for i in range(len(browser.dataset)) for k in browser.classes(i))
    return next(pair for pair in pairs if browser.responses(*pair))


def test_fused_query_of_all_components_is_the_one_training_takes(browser, asked):
    index, k = asked
    assert browser.responses(index, k).reliable
    torch.testing.assert_close(browser.query(index, k), browser.evidence(index).queries[0, k])
    every = browser.responses(index, k).order
    torch.testing.assert_close(browser.query(index, k, every), browser.query(index, k))


def test_query_of_one_component_is_that_attribute(browser, asked):
    index, k = asked
    attribute = browser.run.assembler.attributes()[k, 2]
    torch.testing.assert_close(browser.query(index, k, [2], DESCRIPTION), F.normalize(attribute, dim=0))


def test_a_component_whose_response_underflows_can_be_looked_at(browser, asked, monkeypatch):
    index, k = asked
    silent = replace(browser.responses(index, k), weights=np.array([0.0, 1.0, 0.0], np.float32))
    monkeypatch.setattr(browser, "responses", lambda *_: silent)
    attribute = browser.run.assembler.attributes()[k, 2]
    torch.testing.assert_close(browser.query(index, k, [2], DESCRIPTION), F.normalize(attribute, dim=0))


def test_alpha_leads_from_text_to_description(browser, asked):
    index, k = asked
    ends = [browser.query(index, k, kind=FUSED, alpha=alpha) for alpha in (0.0, 1.0)]
    torch.testing.assert_close(ends, [browser.query(index, k, kind=kind) for kind in (TEXT, DESCRIPTION)])


def test_seed_of_a_view_is_the_cam_of_its_query(browser, asked):
    index, k = asked
    evidence = browser.evidence(index)
    query = browser.query(index, k, [1], DESCRIPTION)
    cam = class_activation(evidence.features.patches, query.expand(1, len(browser.run.class_names), -1), evidence.labels)
    torch.testing.assert_close(browser.view(index, k, [1], DESCRIPTION, map=SEED).shown, cam[0, k])


def test_maps_of_the_run_s_own_query_are_the_run_s(browser, asked):
    index, k = asked
    evidence = browser.evidence(index)
    expected = {
        SEED: evidence.seeds[0, k],
        REFINED: evidence.refined_seeds[0, k],
        PSEUDO_LABEL: evidence.pseudo_label[0],
        PREDICTION: evidence.prediction[0],
    }
    for name, shown in expected.items():
        torch.testing.assert_close(browser.view(index, k, map=name).shown, shown)


def test_an_image_passes_clip_once(browser, asked, monkeypatch):
    index, k = asked
    browser.view(index, k)
    monkeypatch.setattr(browser.run.clip, "encode_image", None)
    for name in MAPS:
        browser.view(index, k, [0], FUSED, 0.3, name)


def test_nearest_training_prototypes_by_brute_force(browser):
    found, latents = browser.gallery().prototypes, browser.gallery().latents
    k = int(found.classes[found.reliable].mode().values)
    centre = browser.run.mixture.gmm.attribute_centres()[k, 2]
    distances = {
        browser._training[int(image)].name: float(((latent - centre) ** 2).sum().sqrt())
        for image, latent, own, reliable in zip(found.images, latents, found.classes, found.reliable)
        if own == k and reliable
    }
    expected = sorted(distances.items(), key=lambda pair: pair[1])[:3]
    assert [(one.name, pytest.approx(one.distance, rel=1e-5)) for one in browser.nearest(k, 2, 3)] == expected


def test_free_text_is_the_prototype_of_its_words(browser, asked):
    index, k = asked
    name = browser.run.class_names[k]
    expected = F.normalize(browser.run.labeller.class_text[k], dim=0)
    torch.testing.assert_close(browser.query(index, k, kind=FREE, text=f" {name} "), expected)
    other = next(n for n in browser.run.class_names if n != name)
    assert not torch.equal(browser.view(index, k, kind=FREE, text=other).shown, browser.view(index, k, kind=TEXT).shown)
    for text, said in (("", "free text: empty"), ("xylophone", "word 'xylophone' is outside the small CLIP's vocabulary")):
        with pytest.raises(ValueError, match=said):
            browser.query(index, k, kind=FREE, text=text)


def test_a_class_that_the_mixture_never_met_has_its_text_and_no_components(browser, asked, monkeypatch):
    index, k = asked
    buffers = browser.run.mixture.gmm._buffers
    monkeypatch.setitem(buffers, "met", buffers["met"] * (torch.arange(len(buffers["met"])) != k))
    assert browser.responses(index, k) is None and browser.probe(index, k, 0.5, 0.5).distances is None
    assert browser.nearest(k, 2) == []
    torch.testing.assert_close(browser.query(index, k, [2], DESCRIPTION), browser.query(index, k, kind=TEXT))


def test_ground_truth_and_parts_are_the_data_set_s(browser, asked):
    index, k = asked
    assert browser.maps == (SEED, REFINED, PSEUDO_LABEL, PREDICTION, TRUTH, PARTS)
    for name, expected in ((TRUTH, browser.dataset.mask(index)), (PARTS, browser.dataset.part_mask(index))):
        assert np.array_equal(browser.view(index, k, map=name).shown, expected)


def test_a_probe_says_what_the_patch_under_the_pixel_is(browser, asked):
    index, k = asked
    patches = browser.evidence(index).features.patches[0]
    height, width = patches.shape[-2:]
    probe = browser.probe(index, k, (3 + 0.9) / width, (5 + 0.1) / height, [1])
    assert probe.place == pytest.approx((3 / width, 5 / height, 4 / width, 6 / height))
    patch = F.normalize(patches[:, 5, 3].float(), dim=0)
    queries = {kind: browser.query(index, k, [1], kind) for kind in QUERIES}
    assert probe.cosines == pytest.approx({kind: float(F.normalize(q, dim=0) @ patch) for kind, q in queries.items()}, abs=1e-5)
    z, _ = browser.run.mixture.flow(patch[None])
    centres = browser.run.mixture.gmm.attribute_centres()[k]
    assert probe.distances == pytest.approx(((z - centres) ** 2).sum(1).sqrt().numpy(), rel=1e-5)
    assert probe.probabilities == pytest.approx(browser.evidence(index).logits[0, :, 5, 3].softmax(0).numpy(), abs=1e-5)
    assert probe.seed == pytest.approx(browser.evidence(index).seeds[0, k, 5, 3].item())


def test_the_patches_most_like_one_by_brute_force(browser, asked):
    index, k = asked
    patches = browser.evidence(index).features.patches[0].float()
    found = {}  # image -> (cosine, place), its best
    for batch in whole_images(browser._training):
        for image, seen in zip(batch.indices, browser.run.evidence(batch.images, batch.labels).features.patches.float()):
            cosines = torch.einsum("d,dhw->hw", F.normalize(patches[:, 2, 4], dim=0), F.normalize(seen, dim=0))
            row, column = divmod(int(cosines.argmax()), cosines.shape[1])
            found[browser._training[image].name] = (float(cosines.max()), column / cosines.shape[1], row / cosines.shape[0])
    probe = browser.probe(index, k, 4.5 / patches.shape[2], 2.5 / patches.shape[1], count=4)
    expected = sorted(found.items(), key=lambda pair: -pair[1][0])[:4]
    assert [one.name for one in probe.patches] == [name for name, _ in expected]
    assert [one.place[:2] for one in probe.patches] == [pytest.approx(place[1:]) for _, place in expected]
    assert probe.patches[0].cosine == pytest.approx(1.0, abs=1e-5), "the image itself is a training image"


def test_worst_images_come_first_and_a_filter_leaves_those_of_a_class(browser):
    album = browser.album
    scores = []
    for i in range(len(browser.dataset)):
        counts = ConfusionMatrix(len(browser.run.class_names) + 1)
        counts.update(browser.evidence(i).prediction[0], browser.dataset.mask(i))
        scores.append(100 * counts.mean_iou())
    worst = album.images(order=WORST_FIRST)
    assert [scores[i] for i in worst] == sorted(scores) and len(set(scores)) > 1
    k = browser.classes(worst[0])[0]
    assert album.images(k) == [i for i in range(len(browser.dataset)) if k in browser.classes(i)]
    assert album.images(k, WORST_FIRST) == [i for i in worst if k in browser.classes(i)]


def test_without_ground_truth_the_least_sure_images_are_the_worst(run, browser, monkeypatch):
    album = Browser(run, gallery=5).album
    monkeypatch.setattr(type(album.dataset), "mask", lambda self, i: (_ for _ in ()).throw(ValueError("no masks")))
    assert not album.has_masks and len(album.scores) == 5
    sure = {i: float(browser.evidence(i).logits[0].softmax(0).max(0).values.mean()) for i in album.scores}
    assert album.scores == pytest.approx({i: 100 * value for i, value in sure.items()}, rel=0.1)


@pytest.mark.usefixtures("random_clip")
@pytest.mark.parametrize("method", ["text", "class_mean", "excel", "weclip", "toco", "seco"])
def test_every_method_shows_its_own_seeds_labels_and_predictions(method, tmp_path):
    preset = {"excel": "excel-smoke", "weclip": "weclip-smoke", "toco": "toco-smoke", "seco": "seco-smoke"}.get(method)
    token = method in ("toco", "seco")
    quick = {name: QUICK[name] for name in ("data.crop", "refine.par_iterations")} | {"schedule.total_steps": 2}
    own = {"options.cam_scales": [1.0]} if token else {"schedule.segmenter_steps": 0, "schedule.inter_steps": 0}
    quick |= own | {"toco": {"options.local_size": 16}, "seco": {"options.patch_size": 16}}.get(method, {})
    Trainer(Config.from_preset(preset or "partworld-smoke", quick | ({} if preset else {"method": method})), tmp_path).fit()
    browser = Browser(Run.load(tmp_path), gallery=3)
    assert browser.queries == ((OWN,) if token else (TEXT, OWN, FREE))
    assert (REFINED in browser.maps) is not token  # no walk refines those of ToCo and SeCo
    k = browser.classes(0)[0]
    evidence = browser.evidence(0)
    expected = {SEED: evidence.seeds[0, k], PSEUDO_LABEL: evidence.pseudo_label[0], PREDICTION: evidence.prediction[0]}
    for name, shown in expected.items():
        assert torch.equal(browser.view(0, k, kind=OWN, map=name).shown, shown), name
    probe = browser.probe(0, k, 0.5, 0.5)
    assert probe.probabilities.sum() == pytest.approx(1, abs=1e-4) and probe.distances is None
    assert (len(probe.patches), len(probe.cosines)) == ((0, 0) if token else (3, 2))
