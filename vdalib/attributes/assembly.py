"""From masks to queries: instance prototypes, reliable filter, attribute retrieval and fusion (VDAF)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vdalib.attributes.flow import InvertibleNetwork
from vdalib.attributes.mixture import HierarchicalGMM

DENSITIES = ("per_dimension", "literal", "static")
RESPONSES = ("literal", "per_dimension")


def predicted_masks(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, K, h, w) bool: where each class wins, among background and the image's own classes only [N].

    Padding of a crop counts as picture [R].

    Args:
        logits: (B, K+1, h, w), background first; labels: (B, K) bool.
    """
    absent = F.pad(~labels, (1, 0))[:, :, None, None]  # background is never absent
    winner = logits.masked_fill(absent, -torch.inf).argmax(1, keepdim=True)  # (B, 1, h, w)
    return winner == torch.arange(1, logits.shape[1], device=logits.device)[:, None, None]


def masked_prototypes(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """L2-normalised mean of features (B, E, h, w) under each mask (B, K, h, w).

    Returns prototypes (B, K, E), zero where a mask is empty, and (B, K) bool, where not. The norm is [R].
    """
    sums = torch.einsum("behw,bkhw->bke", features, masks.to(features.dtype))
    return F.normalize(sums, dim=-1), masks.flatten(2).any(-1)


@torch.no_grad()
def instance_prototypes(patches: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """P_k of each image, (B, K, D), and (B, K) bool, which of its classes were predicted somewhere [N].

    Args:
        patches: (B, D, h, w) dense CLIP features; logits: (B, K+1, h, w) of the decoder; labels: (B, K) bool.
    """
    return masked_prototypes(patches, predicted_masks(logits, labels))


@torch.no_grad()
def drawn_patches(patches: Tensor, masks: Tensor, count: int) -> Tensor:
    """Patch features (B, K, count, D) drawn at random, with replacement, under each mask; anywhere where it is empty.

    Args:
        patches: (B, D, h, w); masks: (B, K, h, w) bool.
    """
    flat = masks.flatten(2)  # (B, K, N)
    chance = (flat | ~flat.any(-1, keepdim=True)).float()
    place = torch.multinomial(chance.flatten(0, 1), count, replacement=True).unflatten(0, flat.shape[:2])
    return patches.flatten(2).transpose(1, 2)[torch.arange(len(patches), device=place.device)[:, None, None], place]


@torch.no_grad()
def reliable(
    prototypes: Tensor,
    present: Tensor,
    class_text: Tensor,
    background_text: Tensor,
    logit_scale: float,
    threshold: float = 0.95,
) -> Tensor:
    """(B, K) bool: which prototypes zero shot gives to their own class, with more than the threshold [N].

    Args:
        prototypes, present: (B, K, D) and (B, K) of `instance_prototypes`.
        class_text, background_text: (K, D) and (N, D) unit text prototypes that compete in the softmax.
        logit_scale: of CLIP, 1 / tau ([R], see docs/equations.md); threshold: eta in 0..1.
    """
    text = torch.cat([class_text, background_text])  # (K+N, D)
    probability = (logit_scale * prototypes @ text.T).softmax(-1)  # (B, K, K+N)
    return present & (probability.diagonal(dim1=1, dim2=2) > threshold)


@dataclass
class AssembledQuery:
    """What `VisualDescriptionAssembler.query` found for n prototypes.

    query:       (n, D), Q = (1 - alpha) T + alpha A.
    description: (n, D), the unit visual description A.
    alpha:       (n,) in 0..1, the density weight.
    responses:   (n, M), the attributes' shares w; rows sum to 1.
    """

    query: Tensor
    description: Tensor
    alpha: Tensor
    responses: Tensor


class VisualDescriptionAssembler:
    """Retrieves attributes from the mixture through the inverse INN and assembles queries ([N] sec. 6).

    Takes no gradient and changes nothing in the flow or the mixture.

    Args:
        flow, gmm: of one joint width D.
        density: "per_dimension" alpha = exp(-||z - mu||^2 / 2D) ([R]), "literal"
            alpha = exp(-||z - mu||^2 / 2) ([N], vanishes in hundreds of dimensions), or "static".
        static_density: alpha in 0..1 where density is "static".
        response: "literal" as published ([N], nearly one-hot in hundreds of dimensions: a choice of component), or
            "per_dimension", the energies divided by D before the softmax ([R], where the log weights decide).

    Raises ValueError for an unknown density or response, or a static_density outside 0..1.
    """

    def __init__(
        self,
        flow: InvertibleNetwork,
        gmm: HierarchicalGMM,
        density: str = "per_dimension",
        static_density: float = 0.6,
        response: str = "literal",
    ):
        for name, value, known in (("density", density, DENSITIES), ("response", response, RESPONSES)):
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, found {value!r}")
        if not 0 <= static_density <= 1:
            raise ValueError(f"static_density: expected a weight in 0..1, found {static_density}")
        self.flow, self.gmm = flow, gmm
        self.density_mode, self.static_density, self.response_mode = density, static_density, response

    @torch.no_grad()
    def latent(self, prototypes: Tensor) -> Tensor:
        """z = f(P) (n, D) of prototypes (n, D), in evaluation mode whatever the flow's own."""
        training = self.flow.training
        z, _ = self.flow.eval()(prototypes)
        self.flow.train(training)
        return z

    @torch.no_grad()
    def attributes(self) -> Tensor:
        """Attribute prototypes a_k^i = g(mu_k^i), (K, M, D), not normalised."""
        return self.flow.inverse(self.gmm.attribute_centres())

    @torch.no_grad()
    def anchors(self) -> Tensor:
        """Class anchors G_k = g(mu_k), (K, D), not normalised (sec. 7)."""
        return self.flow.inverse(self.gmm.class_centres)

    @torch.no_grad()
    def responses(self, z: Tensor, classes: Tensor) -> Tensor:
        """w^i = softmax_i( c_k^i - 1/2 ||z - mu_k^i||^2 ), (n, M), of latents z (n, D) in classes k (n,)."""
        temperature = z.shape[-1] if self.response_mode == "per_dimension" else 1
        energy = self.gmm.attribute_energy(z, classes)
        return (self.gmm.log_attribute_weights[classes] - energy / temperature).softmax(-1)

    @torch.no_grad()
    def density(self, z: Tensor, classes: Tensor) -> Tensor:
        """alpha (n,) in 0..1 of latents z (n, D) in classes (n,)."""
        if self.density_mode == "static":
            return z.new_full(classes.shape, self.static_density)
        scale = z.shape[-1] if self.density_mode == "per_dimension" else 1
        energy = self.gmm.class_energy(z).gather(1, classes[:, None])[:, 0]
        return torch.exp(-energy / scale)

    @torch.no_grad()
    def query(self, prototypes: Tensor, classes: Tensor, text: Tensor) -> AssembledQuery:
        """Q = (1 - alpha) T + alpha A, where A = sum_i w^i a^i, for prototypes (n, D) of classes (n,).

        text: (K, D) text prototypes. T and A are normalised before they are fused ([R]); n may be 0. A class
        without a reliable prototype keeps Q = T, so over a batch with `reliable` (B, K):

            queries = text.repeat(B, 1, 1)
            queries[reliable] = assembler.query(prototypes[reliable], reliable.nonzero()[:, 1], text).query
        """
        z = self.latent(prototypes)
        responses, alpha = self.responses(z, classes), self.density(z, classes)
        attributes = self.flow.inverse(self.gmm.attribute_centres()[classes])  # (n, M, D)
        description = F.normalize(torch.einsum("nm,nmd->nd", responses, attributes), dim=-1)
        query = torch.lerp(F.normalize(text, dim=-1)[classes], description, alpha[:, None])
        return AssembledQuery(query, description, alpha, responses)
