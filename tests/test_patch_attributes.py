"""The option `mixture.patch_attributes` [R]: L_intra sees patches of predicted masks, nothing else does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import assert_same_run, rows, run, same, start

from vdalib.attributes import losses
from vdalib.attributes.assembly import drawn_patches
from vdalib.config import Config
from vdalib.data.partworld import PartWorld
from vdalib.evaluation.run import Run
from vdalib.methods.vda import VisualMixture

pytestmark = pytest.mark.usefixtures("random_clip")
PATCHES = {
    "mixture.patch_attributes": 3,
    "mixture.attributes": 3,
    "mixture.replay": 0,  # its draws come from the generator that patches are drawn by
    "schedule.checkpoint_every": 4,
    "schedule.keep": 9,
}


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
    vectors, classes = torch.randn(5, 4, 8), torch.arange(5)
    terms = mixture.train().loss(vectors, classes, config, intra=True)
    (z, log_det), gmm = mixture.flow(vectors[:, 0]), mixture.gmm
    assert terms["inter"] == losses.inter_class_nll(gmm.class_energy(z), gmm.log_class_weights, log_det)
    assert terms["discriminative"] == losses.discriminative(gmm.class_energy(z), gmm.log_class_weights, classes)
    assert gmm.met[:5].tolist() == [1] * 5  # nor do class centres start at them
    z, log_det = mixture.flow(vectors)  # (5, 4, 8), (5, 4)
    log_density = [
        [torch.logsumexp(torch.stack([c - ((x - mu) ** 2).sum() / 2 for c, mu in zip(w, m)]), 0).item() for x in row]
        for row, w, m in zip(z, gmm.log_attribute_weights[classes], gmm.attribute_centres()[classes])
    ]
    torch.testing.assert_close(terms["intra"], -(torch.tensor(log_density) + log_det).mean())
    assert "intra" not in mixture.loss(vectors, classes, config, intra=False)
    divided = Config.from_preset("partworld-smoke", PATCHES | {"mixture.nll_scale": "per_dimension"})
    per_dimension = mixture.loss(vectors, classes, divided, intra=True)
    for name, share in {"inter": 8, "intra": 8, "discriminative": 1}.items():
        torch.testing.assert_close(per_dimension[name], terms[name] / share)


def test_patches_change_the_mixture_from_stage_3_on_and_its_first_two_stages_not(with_patches, tmp_path):
    plain = run(tmp_path, PATCHES | {"mixture.patch_attributes": 0}).run_dir
    for step, equal in ((4, True), (6, True), (9, False)):
        ours, theirs = (Run.load(folder, step).mixture.state_dict() for folder in (with_patches, plain))
        assert same(ours, theirs) == equal, step
    assert any("intra" in row for row in rows(with_patches))


@pytest.mark.parametrize("stop", [5, 8])
def test_a_run_with_patches_resumes_bit_for_bit(with_patches, tmp_path, stop):
    run(tmp_path, PATCHES, until=stop)
    resumed = start(tmp_path, PATCHES)
    resumed.fit()
    assert_same_run(tmp_path, with_patches)


def test_no_mask_reaches_the_patches(with_patches, tmp_path, monkeypatch):
    dice, render = np.random.default_rng(0), PartWorld.render

    def noisy(self, i):
        rendered = render(self, i)
        noise = dice.integers(0, 37, rendered.mask.shape, dtype=np.uint8)
        return replace(rendered, mask=noise, kind_mask=noise, part_mask=noise, owner=noise)

    monkeypatch.setattr(PartWorld, "render", noisy)
    assert_same_run(run(tmp_path, PATCHES).run_dir, with_patches)
