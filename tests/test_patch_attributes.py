"""The option `mixture.patch_attributes` [R]: L_intra sees patches of predicted masks, nothing else does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import assert_same_run, rows, run, same, start, weights

from vdalib.attributes import losses
from vdalib.attributes.assembly import drawn_patches
from vdalib.attributes.mixture import HierarchicalGMM
from vdalib.config import Config
from vdalib.data.partworld import PartWorld
from vdalib.evaluation.run import Run
from vdalib.methods.vda import VisualMixture

pytestmark = pytest.mark.usefixtures("random_clip")
PATCHES = {"mixture.patch_attributes": 3, "mixture.attributes": 3, "schedule.checkpoint_every": 4}


@pytest.fixture(scope="module")
def with_patches(tmp_path_factory, random_clip):
    return run(tmp_path_factory.mktemp("patches"), PATCHES).run_dir


def test_patches_are_drawn_from_their_mask_and_all_of_it():
    patches = torch.arange(2 * 4 * 5.0).view(2, 1, 4, 5).expand(-1, 3, -1, -1)  # each feature is the patch's number
    masks = torch.zeros(2, 2, 4, 5, dtype=torch.bool)
    masks[0, 0, 1, 1:4] = masks[1, 1, :, 0] = True
    drawn = drawn_patches(patches, masks, 400)
    assert drawn.shape == (2, 2, 400, 3) and torch.equal(drawn[..., 0], drawn[..., 2])
    assert set(drawn[0, 0, :, 0].tolist()) == {6, 7, 8} and set(drawn[1, 1, :, 0].tolist()) == {20, 25, 30, 35}
    assert len(drawn[0, 1, :, 0].unique()) > 15  # an empty mask: anywhere


def test_only_l_intra_sees_the_patches():
    config = Config.from_preset("partworld-smoke", PATCHES)
    torch.manual_seed(0)
    mixture = VisualMixture(config, 10, 8)
    vectors, classes = torch.randn(20, 8), torch.arange(5).repeat_interleave(4)
    terms = mixture.train().loss(vectors, classes, config, intra=True)
    (z, log_det), gmm = mixture.flow(vectors[::4]), mixture.gmm
    assert terms["inter"] == losses.inter_class_nll(gmm.class_energy(z), gmm.log_class_weights, log_det, 8)
    assert terms["discriminative"] == losses.discriminative(gmm.class_energy(z), gmm.log_class_weights, classes[::4])
    assert gmm.met[:5].tolist() == [1] * 5  # nor do class centres start at them
    z, log_det = mixture.flow(vectors)
    log_density = [
        torch.logsumexp(torch.stack([c - ((x - mu) ** 2).sum() / 2 for c, mu in zip(w, m)]), 0)
        for x, w, m in zip(z, gmm.log_attribute_weights[classes], gmm.attribute_centres()[classes])
    ]
    torch.testing.assert_close(terms["intra"], -(torch.stack(log_density) + log_det).mean() / 8)
    assert "intra" not in mixture.loss(vectors, classes, config, intra=False)


def test_attributes_start_at_the_clusters_of_the_first_patches():
    gmm = HierarchicalGMM(3, 4, 6, initial_samples=10, fit_attributes=True)
    with torch.no_grad():
        gmm.class_centres.normal_()
    before, clusters, dice = gmm.offsets.detach().clone(), 9 * torch.eye(6)[:3], torch.Generator().manual_seed(0)
    for _ in range(3):  # 39 of class 1, one less than M * initial_samples
        z = clusters.repeat(13, 1)[:13] + 0.01 * torch.randn(13, 6, generator=dice)
        gmm.initialise_attributes(z, torch.ones(13, dtype=torch.long))
    assert torch.equal(gmm.offsets, before)
    gmm.initialise_attributes(torch.cat([clusters, clusters]), torch.tensor([1, 2, 2, 2, 2, 2]))
    assert torch.equal(gmm.offsets[[0, 2]], before[[0, 2]])
    found = gmm.attribute_centres()[1].detach()
    assert torch.equal(found[0], gmm.class_centres[1])
    assert (torch.cdist(clusters, found[1:]).amin(1) < 0.1).all()
    moved = gmm.offsets.detach().clone()
    gmm.initialise_attributes(-clusters, torch.ones(3, dtype=torch.long))  # once only
    assert torch.equal(gmm.offsets, moved)
    HierarchicalGMM(3, 1, 6, fit_attributes=True).initialise_attributes(clusters, torch.ones(3, dtype=torch.long))


def test_patches_change_the_mixture_from_stage_3_on_and_its_first_two_stages_not(with_patches, tmp_path):
    plain = run(tmp_path, PATCHES | {"mixture.patch_attributes": 0}).run_dir
    without = weights(plain, "memory")
    assert {"mixture.gmm.early", "mixture.gmm.num_early"} == weights(with_patches, "memory").keys() - without.keys()
    for step, equal in ((4, True), (6, True), (9, False)):
        ours, theirs = (Run.load(folder, step).mixture.state_dict() for folder in (with_patches, plain))
        assert same({key: ours[key] for key in theirs}, theirs) == equal, step
    assert any("intra" in row for row in rows(with_patches))
    assert Run.load(with_patches).mixture.gmm.num_early.sum() > 0


@pytest.mark.parametrize("stop", [5, 8])
def test_a_run_with_patches_resumes_bit_for_bit(with_patches, tmp_path, stop):
    run(tmp_path, PATCHES, until=stop)
    resumed = start(tmp_path, PATCHES)
    resumed.fit()
    assert_same_run(tmp_path, with_patches)


def test_no_mask_reaches_the_patches(with_patches, tmp_path, monkeypatch):
    dice, render = np.random.default_rng(0), PartWorld.render

    def noisy(self, i):
        noise = dice.integers(0, 47, (96, 96), dtype=np.uint8)
        return replace(render(self, i), mask=noise, part_mask=noise, owner=noise)

    monkeypatch.setattr(PartWorld, "render", noisy)
    assert_same_run(run(tmp_path, PATCHES).run_dir, with_patches)
