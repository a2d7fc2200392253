import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform

from vdalib.attributes import losses
from vdalib.attributes.flow import InvertibleNetwork
from vdalib.attributes.mixture import HierarchicalGMM
from vdalib.segmentation.losses import affinity_loss, segmentation_loss

K, M, D, N = 3, 4, 6, 8


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mixture(centres, logits):
    components = Independent(Normal(centres, torch.ones_like(centres)), 1)
    return MixtureSameFamily(Categorical(logits=logits), components)


@pytest.fixture
def model():
    torch.manual_seed(0)
    flow, gmm = InvertibleNetwork(D, steps=2).double(), HierarchicalGMM(K, M, D).double()
    for parameter in [*flow.parameters(), *gmm.parameters()]:
        parameter.data += 0.3 * torch.randn_like(parameter)
    return flow.eval(), gmm


CLASSES = torch.arange(N) % K


def inter(flow, gmm, x, scale=1.0):
    z, log_det = flow(x)
    return losses.inter_class_nll(gmm.class_energy(z), gmm.log_class_weights, log_det, scale)


def intra(flow, gmm, x, scale=1.0):
    z, log_det = flow(x)
    energy, log_weights = gmm.attribute_energy(z, CLASSES), gmm.log_attribute_weights[CLASSES]
    return losses.intra_class_nll(energy, log_weights, log_det, scale)


def dis(flow, gmm, x):
    z, _ = flow(x)
    return losses.discriminative(gmm.class_energy(z), gmm.log_class_weights, CLASSES)


def test_inter_class_nll_is_minus_the_density_of_x_without_the_dropped_constant(model):
    """Change of variables with an explicit torch mixture and the autograd Jacobian."""
    flow, gmm = model
    x = random(N, D)
    density = mixture(gmm.class_centres, gmm.class_logits)
    log_p = []
    for sample in x:
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(v)[0], sample)
        log_p.append(density.log_prob(flow(sample)[0]) + torch.linalg.slogdet(jacobian).logabsdet)
    constant = D / 2 * math.log(2 * math.pi)
    torch.testing.assert_close(inter(flow, gmm, x) + constant, -torch.stack(log_p).mean())


def test_intra_class_nll_is_minus_the_density_within_the_class_without_the_constant(model):
    flow, gmm = model
    x = random(N, D)
    z, log_det = flow(x)
    log_p = []
    for n, k in enumerate(CLASSES):
        centres = torch.cat([gmm.class_centres[k, None], gmm.class_centres[k] + gmm.offsets[k]])
        log_p.append(mixture(centres, gmm.attribute_logits[k]).log_prob(z[n]) + log_det[n])
    constant = D / 2 * math.log(2 * math.pi)
    torch.testing.assert_close(intra(flow, gmm, x) + constant, -torch.stack(log_p).mean())


def test_nll_of_an_affine_map_is_that_of_a_transformed_distribution():
    centres, scale = random(K, D), torch.full((D,), 2.0, dtype=torch.float64)
    x = random(N, D, seed=1)
    z, log_det = x / scale, -scale.log().sum().expand(N)
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    energy = 0.5 * torch.cdist(z, centres) ** 2
    ours = losses.inter_class_nll(energy, weights.log(), log_det) + D / 2 * math.log(2 * math.pi)
    to_x = AffineTransform(0.0, scale, event_dim=1)
    pushed = TransformedDistribution(mixture(centres, weights.log()), to_x)
    torch.testing.assert_close(ours, -pushed.log_prob(x).mean())


@pytest.mark.parametrize("loss", [inter, intra])
def test_scale_divides_the_nats_per_vector(model, loss):
    x = random(N, D)
    torch.testing.assert_close(loss(*model, x, scale=D) * D, loss(*model, x))


def test_discriminative_is_minus_the_log_posterior_of_the_class(model):
    flow, gmm = model
    x = random(N, D)
    z = flow(x)[0]
    densities = [mixture(gmm.class_centres[k, None], torch.zeros(1)).log_prob(z) for k in range(K)]
    joint = gmm.log_class_weights + torch.stack(densities, dim=1)
    posterior = joint.exp() / joint.exp().sum(1, keepdim=True)
    torch.testing.assert_close(dis(flow, gmm, x), -posterior[range(N), CLASSES].log().mean())


@pytest.mark.parametrize("loss", [inter, intra, dis])
def test_gradients_agree_with_finite_differences(model, loss):
    flow, gmm = model
    parameters = dict(flow=[*flow.parameters()][:2] + [*flow.parameters()][-2:], gmm=[*gmm.parameters()])
    stopped = {inter: (), intra: ("class_centres",), dis: ("class_logits",)}[loss]
    tested = parameters["flow"] + [p for name, p in gmm.named_parameters() if name not in stopped]
    for parameter in [*flow.parameters(), *gmm.parameters()]:
        parameter.grad = None
    x = random(N, D)
    loss(flow, gmm, x).backward()
    step = 1e-6
    for parameter in tested:
        for index in range(0, parameter.numel(), max(parameter.numel() // 5, 1)):
            flat = parameter.data.view(-1)
            flat[index] += step
            above = loss(flow, gmm, x).item()
            flat[index] -= 2 * step
            below = loss(flow, gmm, x).item()
            flat[index] += step
            ours = 0.0 if parameter.grad is None else parameter.grad.view(-1)[index].item()
            assert ours == pytest.approx((above - below) / (2 * step), abs=1e-7, rel=1e-5)


def test_intra_class_loss_moves_flow_and_offsets_but_no_class_centre(model):
    flow, gmm = model
    intra(flow, gmm, random(N, D)).backward()
    assert gmm.class_centres.grad is None and gmm.class_logits.grad is None
    assert (gmm.offsets.grad.abs().sum((1, 2)) > 0).all()
    assert gmm.attribute_logits.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in flow.parameters())


def test_inter_and_discriminative_together_are_supervised_likelihood_but_for_the_gradient_of_the_class_weights(model):
    """Notebook 01, section 7: in nats per vector and with weight one."""
    flow, gmm = model
    z, log_det = flow(random(N, D))
    z = z.detach().requires_grad_()
    energy, c = gmm.class_energy(z), gmm.log_class_weights
    both = losses.inter_class_nll(energy, c, log_det.detach()) + losses.discriminative(energy, c, CLASSES)
    supervised = (energy[range(N), CLASSES] - c[CLASSES] - log_det.detach()).mean()
    learns = (z, gmm.class_centres, gmm.class_logits)
    (of_z, of_centres, of_logits), expected = (
        torch.autograd.grad(loss, learns, retain_graph=True) for loss in (both, supervised)
    )
    torch.testing.assert_close([both, of_z, of_centres], [supervised, *expected[:2]])
    shares, responsible = c.exp(), (c - energy).softmax(-1).mean(0)
    torch.testing.assert_close(of_logits, shares - responsible)
    torch.testing.assert_close(expected[2], shares - CLASSES.bincount() / N)


def test_discriminative_loss_moves_centres_but_not_the_class_weights(model):
    flow, gmm = model
    dis(flow, gmm, random(N, D)).backward()
    assert gmm.class_logits.grad is None and (gmm.class_centres.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_are_finite_and_exact_at_energies_of_1e4(dtype):
    energy = torch.tensor([[1e4, 1e4 + 1, 3e4]], dtype=dtype, requires_grad=True)
    weights = torch.tensor([0.5, 0.25, 0.25], dtype=dtype).log()
    loss = losses.inter_class_nll(energy, weights, torch.zeros(1, dtype=dtype))
    loss.backward()
    assert loss.item() == pytest.approx(1e4 - math.log(0.5 + 0.25 * math.exp(-1)), rel=1e-6)
    first = 0.5 / (0.5 + 0.25 * math.exp(-1))
    expected = torch.tensor([[first, 1 - first, 0.0]], dtype=dtype)
    torch.testing.assert_close(energy.grad, expected, rtol=2e-3, atol=0)  # float32 has 1e-3 steps at 1e4
    classified = losses.discriminative(energy, weights, torch.tensor([2]))
    assert classified.item() == pytest.approx(2e4, rel=1e-3)


def test_class_contrastive_is_info_nce_over_classes():
    prototypes, anchors = random(4, D), random(K, D, seed=1)
    classes = torch.tensor([0, 2, 1, 2])
    terms = []
    for p, k in zip(prototypes, classes):
        cosines = [torch.cosine_similarity(p, anchor, dim=0) / 0.1 for anchor in anchors]
        terms.append(-torch.log(cosines[k].exp() / sum(c.exp() for c in cosines)))
    torch.testing.assert_close(losses.class_contrastive(prototypes, anchors, classes, 0.1), sum(terms) / 4)


def test_class_contrastive_sends_no_gradient_to_the_anchors_and_is_zero_without_prototypes():
    prototypes, anchors = random(4, D).requires_grad_(), random(K, D, seed=1).requires_grad_()
    losses.class_contrastive(prototypes, anchors, torch.tensor([0, 2, 1, 2]), 0.1).backward()
    assert anchors.grad is None and prototypes.grad.abs().sum() > 0
    nothing = losses.class_contrastive(prototypes[:0], anchors, torch.zeros(0, dtype=torch.long), 0.1)
    nothing.backward()
    assert nothing.item() == 0


def literal_segmentation_loss(logits, target):
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for b, i, j in torch.cartesian_prod(*map(torch.arange, target.shape)).tolist():
        if target[b, i, j] == 255:
            continue
        scores = logits[b, :, i, j]
        side = target[b, i, j].item() == 0
        sums[side] += -(scores[target[b, i, j]].exp() / scores.exp().sum()).log().item()
        counts[side] += 1
    return sum(0.5 * sums[side] / (counts[side] + 1e-6) for side in (True, False))


def test_segmentation_loss_weighs_background_and_foreground_half_each():
    logits = random(2, K + 1, 4, 5)
    target = torch.randint(0, K + 1, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    target[:, 0] = 255
    expected = literal_segmentation_loss(logits, target)
    assert segmentation_loss(logits, target).item() == pytest.approx(expected, rel=1e-9)
    logits[:, :, 0] = 1e3
    assert segmentation_loss(logits, target).item() == pytest.approx(expected, rel=1e-9)


def test_background_weight_is_the_share_of_the_backgrounds_mean():
    logits = random(2, K + 1, 4, 5)
    target = torch.randint(0, K + 1, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    pixels = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    expected = 0.8 * pixels[target == 0].mean() + 0.2 * pixels[target > 0].mean()
    torch.testing.assert_close(segmentation_loss(logits, target, 0.8), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("label", [0, 2, 255])
def test_segmentation_loss_is_finite_where_one_side_is_missing(label):
    logits, target = random(1, K + 1, 2, 2).requires_grad_(), torch.full((1, 2, 2), label)
    loss = segmentation_loss(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(literal_segmentation_loss(logits, target), rel=1e-9)
    assert logits.grad.isfinite().all()


def literal_affinity_loss(affinity, labels, radius):
    batch, h, w = labels.shape
    attract, repel, same, different = 0.0, 0.0, 0, 0
    for b in range(batch):
        for i in range(h * w):
            for j in range(h * w):
                (yi, xi), (yj, xj) = divmod(i, w), divmod(j, w)
                one, other = labels[b, yi, xi].item(), labels[b, yj, xj].item()
                if max(abs(yi - yj), abs(xi - xj)) > radius or 255 in (one, other):
                    continue
                if one == other:
                    attract, same = attract + 1 - affinity[b, i, j].item(), same + 1
                else:
                    repel, different = repel + affinity[b, i, j].item(), different + 1
    return 0.5 * attract / (same + 1) + 0.5 * repel / (different + 1)


@pytest.mark.parametrize("grid, radius", [((4, 7), 2), ((3, 10), 8)])
def test_affinity_loss_is_that_of_the_annex(grid, radius):
    h, w = grid
    labels = torch.randint(0, 3, (2, h, w), generator=torch.Generator().manual_seed(0))
    labels[:, :, 1] = 255
    affinity = random(2, h * w, h * w).sigmoid()
    ours = affinity_loss(affinity, labels, radius)
    assert ours.item() == pytest.approx(literal_affinity_loss(affinity, labels, radius), rel=1e-9)


def test_affinity_loss_is_zero_where_everything_is_ignored():
    assert affinity_loss(random(1, 4, 4).sigmoid(), torch.full((1, 2, 2), 255)).item() == 0
