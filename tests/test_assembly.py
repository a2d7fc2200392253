import math

import pytest
import torch

from vdalib.attributes import losses
from vdalib.attributes.assembly import (
    VisualDescriptionAssembler,
    instance_prototypes,
    masked_prototypes,
    predicted_masks,
    reliable,
)
from vdalib.attributes.flow import InvertibleNetwork
from vdalib.attributes.mixture import HierarchicalGMM

B, K, M, D, H, W = 2, 3, 4, 6, 5, 4


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(random(*shape, seed=seed), dim=-1)


LABELS = torch.tensor([[True, False, True], [False, True, False]])


@pytest.fixture
def parts():
    torch.manual_seed(0)
    flow, gmm = InvertibleNetwork(D, steps=2).double(), HierarchicalGMM(K, M, D).double()
    for parameter in [*flow.parameters(), *gmm.parameters()]:
        parameter.data += 0.3 * torch.randn_like(parameter)
    return flow.eval(), gmm


def test_classes_outside_the_label_are_never_predicted():
    logits = random(B, K + 1, H, W)
    logits[0, 2] += 100  # class 1 is absent from image 0
    masks = predicted_masks(logits, LABELS)
    for b in range(B):
        allowed = [0] + [k + 1 for k in range(K) if LABELS[b, k]]
        for i in range(H):
            for j in range(W):
                winner = max(allowed, key=lambda c: logits[b, c, i, j].item())
                assert masks[b, :, i, j].tolist() == [winner == k + 1 for k in range(K)]


def test_instance_prototypes_are_the_unit_means_of_the_patches_predicted_as_the_class():
    patches, logits = random(B, D, H, W), random(B, K + 1, H, W, seed=1)
    logits[1] = -1.0
    logits[1, 0] = 1.0  # image 1: background everywhere
    prototypes, present = instance_prototypes(patches, logits, LABELS)
    masks = predicted_masks(logits, LABELS)
    assert present.tolist() == [[True, False, True], [False, False, False]]
    for k in (0, 2):
        inside = [patches[0, :, i, j] for i in range(H) for j in range(W) if masks[0, k, i, j]]
        mean = torch.stack(inside).mean(0)
        torch.testing.assert_close(prototypes[0, k], mean / mean.norm())
    assert (prototypes[~present] == 0).all()


def test_masked_prototypes_keep_the_gradient_and_stay_finite_where_a_mask_is_empty():
    features = random(B, D, H, W).requires_grad_()
    masks = torch.zeros(B, K, H, W, dtype=torch.bool)
    masks[0, 0, :2] = True
    prototypes, _ = masked_prototypes(features, masks)
    (prototypes * random(B, K, D, seed=1)).sum().backward()
    assert (features.grad[0, :, :2] != 0).all()
    assert (features.grad[0, :, 2:] == 0).all() and (features.grad[1] == 0).all()


def test_reliable_keeps_what_zero_shot_names_right_with_enough_confidence():
    text, background = torch.eye(D)[:K], torch.eye(D)[K:]
    right = text[0]
    doubtful = torch.nn.functional.normalize(text[1] + 0.9 * text[0], dim=0)
    ground = torch.eye(D)[4]
    prototypes = torch.stack([right, doubtful, ground])[None]
    present = torch.ones(1, K, dtype=torch.bool)

    def kept(threshold, present=present, background=background):
        return reliable(prototypes, present, text, background, 10.0, threshold).tolist()[0]

    assert kept(0.95) == [True, False, False]
    margin = 10 * (doubtful[1] - doubtful[0]).item()
    share = 1 / (1 + math.exp(-margin) + 4 * math.exp(-10 * doubtful[1].item()))
    assert kept(share - 1e-4)[1] and not kept(share + 1e-4)[1]
    assert kept(0.95, present=~present) == [False, False, False]
    assert kept(0.3, background=background[:0])[2], "without background prompts nothing is left to name it"


def test_assembled_query_is_that_of_a_hand_computation():
    """An identity flow in two dimensions, so that every number can be followed on paper."""
    flow = InvertibleNetwork(2, steps=1, mixing="none").double().eval()
    gmm = HierarchicalGMM(1, 2, 2).double()
    gmm.class_centres.data = torch.tensor([[1.0, 0.0]]).double()
    gmm.offsets.data = torch.tensor([[[-1.0, 1.0]]]).double()  # attributes at (1, 0) and (0, 1)
    gmm.attribute_logits.data = torch.tensor([[math.log(3.0), 0.0]]).double()
    prototype, text = torch.tensor([[0.6, 0.8]]).double(), torch.tensor([[0.0, -2.0]]).double()
    assembler = VisualDescriptionAssembler(flow, gmm, "literal")  # responses are literal by default
    found = assembler.query(prototype, torch.tensor([0]), text)

    energies = (0.5 * (0.4**2 + 0.8**2), 0.5 * (0.6**2 + 0.2**2))  # 0.4 and 0.2
    odds = 0.75 * math.exp(-energies[0]), 0.25 * math.exp(-energies[1])
    first, second = (o / sum(odds) for o in odds)
    length = math.hypot(first, second)
    alpha = math.exp(-energies[0])
    assert found.responses[0].tolist() == pytest.approx([first, second])
    assert found.description[0].tolist() == pytest.approx([first / length, second / length])
    assert found.alpha.tolist() == pytest.approx([alpha])
    expected = [alpha * first / length, -(1 - alpha) + alpha * second / length]
    assert found.query[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("density", ["per_dimension", "literal", "static"])
@pytest.mark.parametrize("response", ["per_dimension", "literal"])
def test_query_of_many_prototypes_equals_the_formulas_one_by_one(parts, density, response):
    flow, gmm = parts
    prototypes, classes, text = unit(5, D), torch.tensor([0, 2, 1, 1, 0]), random(K, D, seed=2)
    assembler = VisualDescriptionAssembler(flow, gmm, density, 0.3, response)
    found = assembler.query(prototypes, classes, text)
    with torch.no_grad():
        for n, k in enumerate(classes):
            z = flow(prototypes[n, None])[0][0]
            centres = [gmm.class_centres[k]] + [gmm.class_centres[k] + delta for delta in gmm.offsets[k]]
            divisor = D if response == "per_dimension" else 1
            logits = torch.stack([-0.5 * ((z - centre) ** 2).sum() / divisor for centre in centres])
            weights = torch.softmax(logits + gmm.attribute_logits[k], 0)
            description = sum(w * flow.inverse(centre[None])[0] for w, centre in zip(weights, centres))
            squared = ((z - gmm.class_centres[k]) ** 2).sum().item()
            scale = {"per_dimension": D, "literal": 1}.get(density)
            alpha = math.exp(-squared / 2 / scale) if scale else 0.3
            query = (1 - alpha) * text[k] / text[k].norm() + alpha * description / description.norm()
            torch.testing.assert_close(found.responses[n], weights)
            torch.testing.assert_close(found.description[n], description / description.norm())
            assert found.alpha[n].item() == pytest.approx(alpha)
            torch.testing.assert_close(found.query[n], query)


def test_attributes_and_anchors_are_retrieved_through_the_inverse(parts):
    flow, gmm = parts
    assembler = VisualDescriptionAssembler(flow, gmm)
    attributes, anchors = assembler.attributes(), assembler.anchors()
    assert attributes.shape == (K, M, D) and anchors.shape == (K, D)
    torch.testing.assert_close(attributes[:, 0], anchors)
    torch.testing.assert_close(flow(attributes)[0], gmm.attribute_centres())


def test_text_and_description_are_normalised_before_fusing(parts):
    assembler = VisualDescriptionAssembler(*parts, density="static")
    prototypes, classes, text = unit(4, D), torch.arange(4) % K, unit(K, D, seed=1)
    one, other = (assembler.query(prototypes, classes, scale * text).query for scale in (1.0, 7.0))
    torch.testing.assert_close(one, other)


def test_literal_density_vanishes_in_512_dimensions_and_per_dimension_is_near_0_61():
    gmm = HierarchicalGMM(1, 1, 512).double()
    z = gmm.class_centres.detach() + random(200, 512)
    classes = torch.zeros(200, dtype=torch.long)
    flow = InvertibleNetwork(512, steps=1, hidden=1)
    literal = VisualDescriptionAssembler(flow, gmm, density="literal").density(z, classes)
    scaled = VisualDescriptionAssembler(flow, gmm).density(z, classes)
    assert literal.max() < 1e-60
    assert scaled.mean().item() == pytest.approx(math.exp(-0.5), abs=0.01) and scaled.std() < 0.05


def test_density_is_one_at_the_class_centre_and_static_everywhere_alike(parts):
    flow, gmm = parts
    centres, classes = gmm.class_centres.detach(), torch.arange(K)
    for density, expected in (("per_dimension", 1.0), ("literal", 1.0), ("static", 0.6)):
        alpha = VisualDescriptionAssembler(flow, gmm, density).density(centres, classes)
        assert alpha.tolist() == pytest.approx([expected] * K)


@pytest.mark.parametrize("alpha, which", [(0.0, "text"), (1.0, "description")])
def test_static_density_0_is_the_text_and_1_is_the_description(parts, alpha, which):
    assembler = VisualDescriptionAssembler(*parts, density="static", static_density=alpha)
    found = assembler.query(unit(2, D), torch.tensor([1, 2]), unit(K, D, seed=1))
    expected = unit(K, D, seed=1)[[1, 2]] if which == "text" else found.description
    torch.testing.assert_close(found.query, expected)


def test_classes_without_a_reliable_prototype_keep_the_text_query(parts):
    assembler = VisualDescriptionAssembler(*parts)
    prototypes, text = unit(B, K, D), unit(K, D, seed=1)
    for reliable_mask in (LABELS, torch.zeros(B, K, dtype=torch.bool)):
        queries = text.repeat(B, 1, 1)
        found = assembler.query(prototypes[reliable_mask], reliable_mask.nonzero()[:, 1], text)
        queries[reliable_mask] = found.query
        torch.testing.assert_close(queries[~reliable_mask], text.expand(B, -1, -1)[~reliable_mask])
        assert found.query.shape == (reliable_mask.sum(), D)
        assert (queries[reliable_mask] != text.expand(B, -1, -1)[reliable_mask]).all()


def test_segmenter_and_inn_exchange_no_gradient(parts):
    flow, gmm = parts
    logits = random(B, K + 1, H, W).requires_grad_()  # the segmenter's
    patches = random(B, D, H, W, seed=1)
    prototypes, present = instance_prototypes(patches, logits, LABELS)
    image, classes = present.nonzero(as_tuple=True)
    assert not prototypes.requires_grad

    z, log_det = flow(prototypes[image, classes])
    losses.inter_class_nll(gmm.class_energy(z), gmm.log_class_weights, log_det).backward()
    assert logits.grad is None

    for parameter in [*flow.parameters(), *gmm.parameters()]:
        parameter.grad = None
    assembler = VisualDescriptionAssembler(flow, gmm)
    found = assembler.query(prototypes[image, classes], classes, unit(K, D))
    assert not any(value.requires_grad for value in vars(found).values())
    embedding = random(B, D, H, W, seed=2).requires_grad_()
    own, _ = masked_prototypes(embedding, predicted_masks(logits.detach(), LABELS))
    losses.class_contrastive(own[image, classes], assembler.anchors(), classes, 0.1).backward()
    assert embedding.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in [*flow.parameters(), *gmm.parameters()])


def test_assembling_never_initialises_the_flow_and_leaves_its_mode():
    flow, gmm = InvertibleNetwork(D).double(), HierarchicalGMM(K, M, D).double()
    VisualDescriptionAssembler(flow, gmm).query(unit(1, D), torch.tensor([0]), unit(K, D))
    assert flow.training
    assert not any(step.norm.initialised for step in flow)


def test_unknown_options_are_refused(parts):
    with pytest.raises(ValueError, match="density: expected one of .*literal, static, found 'dynamic'"):
        VisualDescriptionAssembler(*parts, density="dynamic")
    with pytest.raises(ValueError, match="response: expected one of literal, per_dimension, found 'sharp'"):
        VisualDescriptionAssembler(*parts, response="sharp")
    with pytest.raises(ValueError, match=r"static_density: expected a weight in 0\.\.1, found 1.5"):
        VisualDescriptionAssembler(*parts, static_density=1.5)
