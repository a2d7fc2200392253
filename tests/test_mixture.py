import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vdalib.attributes.mixture import HierarchicalGMM

K, M, D = 3, 4, 6


@pytest.fixture
def gmm():
    torch.manual_seed(0)
    gmm = HierarchicalGMM(K, M, D).double()
    for parameter in gmm.parameters():
        parameter.data = torch.randn_like(parameter)
    return gmm


def latents(n=10, seed=1):
    return torch.randn(n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussians(centres):
    return Independent(Normal(centres, torch.ones_like(centres)), 1)


def test_class_energy_is_the_negative_gaussian_log_density_without_its_constant(gmm):
    z = latents()
    constant = 0.5 * D * torch.log(torch.tensor(2 * torch.pi).double())
    for k in range(K):
        expected = -gaussians(gmm.class_centres[k]).log_prob(z) - constant
        torch.testing.assert_close(gmm.class_energy(z)[:, k], expected)


def test_attribute_energy_is_that_of_the_own_class(gmm):
    z, classes = latents(), torch.arange(10) % K
    energy = gmm.attribute_energy(z, classes)
    for n in range(10):
        for i in range(M):
            centre = gmm.class_centres[classes[n]]
            centre = centre if i == 0 else centre + gmm.offsets[classes[n], i - 1]
            torch.testing.assert_close(energy[n, i], 0.5 * ((z[n] - centre) ** 2).sum())


def test_log_weights_are_normalised_over_classes_and_within_each_class(gmm):
    torch.testing.assert_close(gmm.log_class_weights.exp().sum(), torch.tensor(1.0).double())
    torch.testing.assert_close(gmm.log_attribute_weights.exp().sum(1), torch.ones(K).double())
    torch.testing.assert_close(gmm.log_class_weights, Categorical(logits=gmm.class_logits).logits)


def test_energies_and_weights_make_the_density_of_torch_distributions(gmm):
    z = latents()
    constant = 0.5 * D * torch.log(torch.tensor(2 * torch.pi).double())
    mixture = MixtureSameFamily(Categorical(logits=gmm.class_logits), gaussians(gmm.class_centres))
    ours = torch.logsumexp(gmm.log_class_weights - gmm.class_energy(z), 1) - constant
    torch.testing.assert_close(ours, mixture.log_prob(z))


def test_first_attribute_is_the_class_centre_and_gradients_reach_offsets_only(gmm):
    centres = gmm.attribute_centres()
    torch.testing.assert_close(centres[:, 0], gmm.class_centres)
    torch.testing.assert_close(centres[:, 1:] - centres[:, :1], gmm.offsets)
    centres.square().sum().backward()
    assert gmm.class_centres.grad is None
    assert (gmm.offsets.grad != 0).all()


def test_one_attribute_leaves_the_class_alone():
    gmm = HierarchicalGMM(K, 1, D).double()
    z, classes = latents(), torch.arange(10) % K
    own = gmm.class_energy(z)[range(10), classes]
    torch.testing.assert_close(gmm.attribute_energy(z, classes)[:, 0], own)
    assert torch.equal(gmm.log_attribute_weights, torch.zeros(K, 1).double())


def test_offsets_start_with_the_stated_spread():
    torch.manual_seed(0)
    offsets = HierarchicalGMM(10, 8, 128, offset_scale=0.2).offsets.detach()
    assert offsets.std() == pytest.approx(0.2, rel=0.02)


def test_initialise_follows_the_mean_of_the_first_latents_of_each_class():
    gmm = HierarchicalGMM(K, M, D, initial_samples=3).double()
    untouched = gmm.class_centres[1].clone()
    z = latents()
    gmm.initialise(z[:3], torch.tensor([2, 0, 2]))
    torch.testing.assert_close(gmm.class_centres, torch.stack([z[1], untouched, z[[0, 2]].mean(0)]))
    gmm.initialise(z[3:5], torch.tensor([2, 1]))
    torch.testing.assert_close(gmm.class_centres, torch.stack([z[1], z[4], z[[0, 2, 3]].mean(0)]))
    gmm.initialise(z[5:7], torch.tensor([2, 0]))  # class 2 has met its three samples
    expected = torch.stack([z[[1, 6]].mean(0), z[4], z[[0, 2, 3]].mean(0)])
    torch.testing.assert_close(gmm.class_centres, expected)


def test_samples_met_are_remembered_in_the_state(gmm):
    z = latents()
    gmm.initialise(z[:1], torch.tensor([1]))
    restored = HierarchicalGMM(K, M, D).double()
    restored.load_state_dict(gmm.state_dict())
    restored.initialise(z[1:2], torch.tensor([1]))
    torch.testing.assert_close(restored.class_centres[1], z[:2].mean(0))


def test_no_attributes_at_all_are_refused():
    with pytest.raises(ValueError, match="num_attributes: expected at least 1.*found 0"):
        HierarchicalGMM(K, 0, D)
