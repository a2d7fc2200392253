"""Which step of the assembly wins or loses: seeds of a trained run by queries that differ in one thing each.

    python benchmarks/queries.py [--preset partworld] [--seeds 0 1 2 3 4] [--jobs 2]

Runs are those of some of the ablation's rows. Of one run, CLIP features, predicted masks and reliable prototypes are the same
for every query, and means and k-means centres are of the prototypes that the mixture was fitted to last, which are those of
training crops, and of those of the whole training images (where the run replays none, of these alone). Beside them, how well
flow and mixture fit prototypes that they learned from, and others. Finished runs are kept in `benchmarks/queries.json` with the
version of the code, and not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from ablation import ROWS as ABLATION
from ablation import main
from torch import Tensor

from vdalib.attributes.losses import intra_class_nll
from vdalib.evaluation import SeedCurve
from vdalib.evaluation.measuring import collect_prototypes
from vdalib.evaluation.run import Run, whole_images
from vdalib.explore.ablation import ladder

RESULTS = Path(__file__).with_suffix(".json")
ROWS = {name: ABLATION[name] for name in ("all", "no replay", "ActNorm alone")}
WEIGHT = 0.6  # of every description but the two that say otherwise
ALONE, ASSEMBLED = "none, text alone", "attributes of the mixture, assembled"
WEIGHED = "attributes of the mixture, weighed by alpha"
WHOLE = ", of whole images"
Describe = Callable[[Tensor, Tensor], Tensor]  # prototypes (n, D) of classes (n,) -> visual descriptions (n, D)


def centres(vectors: Tensor, classes: Tensor, count: int) -> dict[int, Tensor]:
    """k-means centres (at most count, D) of the vectors (n, D) of each class."""
    from sklearn.cluster import KMeans

    found = {}
    for k in classes.unique().tolist():
        own = vectors[classes == k]
        model = KMeans(min(count, len(own)), n_init=4, random_state=0).fit(own.numpy())
        found[k] = own.new_tensor(model.cluster_centers_)
    return found


def nearest(centres: Mapping[int, Tensor]) -> Describe:
    """The centre of its class that is nearest to each vector."""

    def describe(vectors: Tensor, classes: Tensor) -> Tensor:
        found = vectors.clone()
        for k in classes.unique().tolist():
            own = vectors[classes == k]  # (n, D)
            distances = (own[:, None] - centres[k]).square().sum(-1)
            found[classes == k] = centres[k][distances.argmin(1)]
        return found

    return describe


def descriptions(
    run: Run, fitted_to: tuple[Tensor, Tensor] | None, of_whole_images: tuple[Tensor, Tensor]
) -> dict[str, Describe]:
    """Ways to describe a prototype, by name.

    Means and k-means centres are made of vectors (n, D) of classes (n,): those `fitted_to`, where there are any, and those
    `of_whole_images`.
    """
    assembler, attributes = run.method.assembler, run.config.mixture.attributes
    vectors, classes = fitted_to or of_whole_images
    in_latent = nearest(centres(assembler.latent(vectors), classes, attributes))
    made_of = "" if fitted_to else WHOLE
    text = run.labeller.class_text.cpu()
    found = {
        f"class mean{made_of}": nearest(centres(vectors, classes, 1)),
        "class centre of the mixture": lambda p, k: assembler.anchors()[k],
        ASSEMBLED: lambda p, k: assembler.query(p, k, text).description,
        f"nearest of {attributes} k-means centres, in latent space{made_of}": lambda p, k: assembler.flow.inverse(
            in_latent(assembler.latent(p), k)
        ).detach(),
        f"nearest of {attributes} k-means centres{made_of}": nearest(centres(vectors, classes, attributes)),
    }
    if fitted_to:
        found |= {
            f"class mean{WHOLE}": nearest(centres(*of_whole_images, 1)),
            f"nearest of {attributes} k-means centres{WHOLE}": nearest(centres(*of_whole_images, attributes)),
        }
    return found | {"the prototype itself": lambda p, k: p}


@torch.no_grad()
def nats(run: Run, vectors: Tensor, classes: Tensor) -> float:
    """The negative log-likelihood of prototypes (n, D) given their classes (n,), per dimension, without the constant."""
    mixture = run.method.mixture
    z, log_det = mixture.flow(vectors)
    weights = mixture.gmm.log_attribute_weights[classes]
    return intra_class_nll(mixture.gmm.attribute_energy(z, classes), weights, log_det).mean().item() / vectors.shape[1]


def reliable_prototypes(run: Run, split: str) -> tuple[Tensor, Tensor]:
    """Those of all images of a split: (n, D) of classes (n,)."""
    dataset = run.dataset(split)
    found = collect_prototypes(run, dataset, range(len(dataset)))
    return found.prototypes[found.reliable].float(), found.classes[found.reliable]


def measure(run_dir: str) -> dict:
    """Of each query its seed mIoU on the training images at its best threshold, in percent (`seeds`), and the mean cosine of its
    description to the prototype that it describes (`closeness`); of prototypes their `nats`.

    A class that the mixture never met is asked by text in all of them.
    """
    run = Run.load(run_dir)
    train = run.dataset("train")
    fitted_to, whole = None, reliable_prototypes(run, "train")
    text = F.normalize(run.labeller.class_text.float(), dim=-1)
    if "recent" in run.method.memory:  # what the mixture was fitted to last
        recent, of_classes = run.method.memory["recent"].take()
        fitted_to = recent[:, 0], of_classes
    ways, (vectors, classes) = descriptions(run, fitted_to, whole), whole
    # the mixture may never have met a class
    known = torch.isin(torch.arange(len(run.class_names)), (fitted_to or whole)[1].unique())
    known &= torch.tensor([run.describes(k) for k in range(len(known))])
    vectors, classes = vectors[known[classes]], classes[known[classes]]
    names = [ALONE, *ways]
    names.insert(names.index(ASSEMBLED) + 1, WEIGHED)
    curves = {name: SeedCurve() for name in names}
    for batch in whole_images(train, range(len(train)), masks=True):
        seen = run.evidence(batch.images, batch.labels)
        image, of_class = (seen.found.reliable & known).nonzero(as_tuple=True)
        prototypes = seen.found.prototypes[image, of_class].float()
        fused = {ALONE: text[of_class], WEIGHED: run.method.assembler.query(prototypes, of_class, text).query}
        for name, describe in ways.items():
            fused[name] = text[of_class].lerp(F.normalize(describe(prototypes, of_class), dim=-1), WEIGHT)
        for name, own in fused.items():
            queries = seen.text_queries.clone()
            queries[image, of_class] = own.to(queries.dtype)
            curves[name].update(seen.seeds_of(queries), batch.labels, batch.masks)
    seeds = {name: round(100 * curve.best()[1], 2) for name, curve in curves.items()}
    closeness = {
        name: round(F.cosine_similarity(describe(vectors, classes), vectors).mean().item(), 4) for name, describe in ways.items()
    }
    alpha = run.method.assembler.query(vectors, classes, text).alpha
    held_out, of_class = reliable_prototypes(run, "val")
    return {
        "seeds": seeds,
        "closeness": closeness,
        "nats": {
            "fitted to": round(nats(run, *fitted_to), 3) if fitted_to else None,
            "training images": round(nats(run, vectors, classes), 3),
            "held-out images": round(nats(run, held_out[known[of_class]], of_class[known[of_class]]), 3),
        },
        "alpha": round(alpha.mean().item(), 3),
        "alpha_std": round(alpha.std().item(), 3),
    }


if __name__ == "__main__":
    main(__doc__, ROWS, RESULTS, measure, ladder)
