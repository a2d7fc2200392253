"""What attribute components mean: agreement of two labellings, a permutation test for it, the pointing game.

The formulas work on many contingency tables at once, because a permutation test needs thousands of them; the
tests compare them with scikit-learn's. In all tables rows are components and columns are labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

NAMED_SHARE, NAMED_LEAST = 0.5, 0.05  # [R] of a component's samples that one label has; of all samples, that the component has


def contingency(components, labels) -> np.ndarray:
    """Counts int64 (..., I, J) of integer components (n,) >= 0 and labels (n,) or (..., n) >= 0.

    Raises ValueError where their lengths differ or nothing is to be counted.
    """
    components, labels = np.asarray(components), np.asarray(labels)
    if not len(components) or components.shape != labels.shape[-1:]:
        raise ValueError(f"components, labels: shapes {components.shape}, {labels.shape}, expected (n,), (..., n), n > 0")
    tables = labels.reshape(-1, len(components))  # (P, n)
    shape = len(tables), components.max() + 1, labels.max() + 1
    cells = np.ravel_multi_index((np.arange(shape[0])[:, None], components, tables), shape)
    return np.bincount(cells.ravel(), minlength=np.prod(shape)).reshape(*labels.shape[:-1], *shape[1:])


def normalised_mutual_information(tables) -> np.ndarray:
    """NMI = 2 I(A; B) / (H(A) + H(B)) in 0..1, (...), of tables (..., I, J); 0 where neither varies.

    It is biased upward for few samples: compare it with its mean under permutation.
    """
    joint = np.asarray(tables, float)
    joint = joint / joint.sum((-2, -1), keepdims=True)
    rows, columns, both = (_entropy(p) for p in (joint.sum(-1), joint.sum(-2), joint.reshape(*joint.shape[:-2], -1)))
    return np.clip(_ratio(2 * (rows + columns - both), rows + columns), 0, 1)


def adjusted_rand_index(tables) -> np.ndarray:
    """ARI (...) of tables (..., I, J): pairs that both labellings join, 0 as expected by chance, 1 if equal; 0 if trivial."""
    tables = np.asarray(tables, float)
    joined, rows, columns, pairs = (
        (counts * (counts - 1) / 2).sum(axis)
        for counts, axis in ((tables, (-2, -1)), (tables.sum(-1), -1), (tables.sum(-2), -1), (tables.sum((-2, -1)), ()))
    )
    expected = _ratio(rows * columns, pairs)
    return _ratio(joined - expected, (rows + columns) / 2 - expected)


def purity(tables) -> np.ndarray:
    """Share of samples (...) that have the commonest label of their component, in tables (..., I, J)."""
    tables = np.asarray(tables)
    return tables.max(-1).sum(-1) / tables.sum((-2, -1))


def components_used(tables) -> np.ndarray:
    """How many components (...) are in use in tables (..., I, J): exp of the entropy of their shares, 1..I."""
    counts = np.asarray(tables, float).sum(-1)
    return np.exp(_entropy(counts / counts.sum(-1, keepdims=True)))


def named(table) -> dict[int, int]:
    """Component -> label of a table (I, J), for those that a label can name.

    The rule: at least NAMED_SHARE of the component's samples have the label, and the component has NAMED_LEAST of all samples.
    """
    table = np.asarray(table)
    sizes, best = table.sum(1), table.max(1)
    known = np.flatnonzero((best >= NAMED_SHARE * sizes) & (sizes >= NAMED_LEAST * sizes.sum()) & (sizes > 0))
    return {int(i): int(table[i].argmax()) for i in known}


def matched(table) -> np.ndarray:
    """The label (I,) of each component of a table (I, J), none twice, so that most samples agree.

    -1 where none is left or no sample agrees. Source: the Hungarian method, Kuhn 1955.
    """
    from scipy.optimize import linear_sum_assignment

    table, result = np.asarray(table), np.full(len(table), -1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    result[rows] = np.where(table[rows, columns] > 0, columns, -1)
    return result


def correlation_inside(cams, objects, least: int = 4) -> np.ndarray:
    """Mean correlation (G,) of two components' CAMs over the patches of each object that has at least `least` of them.

    cams: (n, M), M >= 2, of n patches by M components; objects: (n,), the object of each patch. A CAM that does not vary
        inside an object correlates with none.
    """
    cams, (_, group, sizes) = np.asarray(cams, float), np.unique(objects, return_inverse=True, return_counts=True)
    members = group == np.arange(len(sizes))[:, None]  # (G, n)
    centred = cams - (members @ cams / sizes[:, None])[group]
    products = centred[:, :, None] * centred[:, None]  # (n, M, M)
    covariance = (members @ products.reshape(len(cams), -1)).reshape(len(sizes), *products.shape[1:])
    deviation = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))  # (G, M)
    correlation = _ratio(covariance, deviation[:, :, None] * deviation[:, None])
    return correlation[:, ~np.eye(cams.shape[1], dtype=bool)].mean(1)[sizes >= least]


def permuted(labels, groups, count: int, seed: int = 0) -> np.ndarray:
    """`count` random rearrangements (count, n) of labels (n,), each label staying in its group (n,)."""
    labels, groups = np.asarray(labels), np.unique(groups, return_inverse=True)[1]
    shuffled = np.argsort(groups + np.random.default_rng(seed).random((count, len(labels))), axis=1)
    result = np.empty(shuffled.shape, labels.dtype)
    result[:, np.argsort(groups, kind="stable")] = labels[shuffled]
    return result


def renamed(components, groups, count: int, seed: int = 0) -> np.ndarray:
    """`count` versions (count, n) of components (n,) whose names are exchanged at random, in each group (n,) in another way."""
    components, groups = np.asarray(components), np.unique(groups, return_inverse=True)[1]
    names = np.random.default_rng(seed).random((count, groups.max() + 1, components.max() + 1)).argsort(-1)
    return names[:, groups, components]


@dataclass(frozen=True)
class Agreement:
    """How well components tell labels, of n samples; null: NMI (P,) that chance would give, see `agreement`.

    used: see `components_used`. named: how many different labels name a component, see `named`.
    """

    nmi: float
    ari: float
    purity: float
    used: float
    named: float
    null: np.ndarray
    n: int

    def numbers(self) -> dict[str, float]:
        """With the mean NMI under the null and the p value of the NMI."""
        test = {"null_nmi": self.null.mean(), "p": p_value(self.nmi, self.null)}
        return {field.name: getattr(self, field.name) for field in fields(self)[:-2]} | test


def agreement(components, labels, groups=None, permutations: int = 200, seed: int = 0) -> Agreement:
    """Agreement of components (n,) and labels (n,) with its permutation test.

    groups: (n,), of patches the object of each; none by default. Without groups the null exchanges labels. With groups it is the
        larger NMI of two: labels exchanged within each object, as if a component knew the object and not where in it a patch
        lies; and components that exchange their names in each object, as if it cut every object into coherent pieces, and not
        all of them at the same parts.
    """
    table = contingency(components, labels)
    once = np.zeros(len(labels)) if groups is None else groups
    null = normalised_mutual_information(contingency(components, permuted(labels, once, permutations, seed)))
    if groups is not None:
        pieces = contingency(labels, renamed(components, groups, permutations, seed))
        null = np.maximum(null, normalised_mutual_information(pieces))
    formulas = normalised_mutual_information, adjusted_rand_index, purity, components_used
    return Agreement(*(float(formula(table)) for formula in formulas), len({*named(table).values()}), null, len(labels))


@dataclass(frozen=True)
class Pointing:
    """The pointing game of one class's components in n images.

    hit:         share of peaks that fall in the object at all.
    consistency: mean over components of the share of images whose peak falls in the component's favourite part.
    favourites:  number of different favourite parts.
    null:        (P,) consistency of components exchanged at random within each image.
    """

    hit: float
    consistency: float
    favourites: float
    null: np.ndarray
    n: int

    def numbers(self) -> dict[str, float]:
        """With the mean consistency of exchanged components and the p value of the consistency."""
        test = {"null_consistency": self.null.mean(), "p": p_value(self.consistency, self.null)}
        return {"hit": self.hit, "consistency": self.consistency, "favourites": self.favourites} | test


def pointing_game(peaks, permutations: int = 200, seed: int = 0) -> Pointing:
    """peaks: int (n, M), the part in which the CAM of each component peaks in each image; 0 = outside the object."""
    peaks = np.asarray(peaks)
    n, components = peaks.shape
    column = np.tile(np.arange(components), n)
    exchanged = permuted(peaks.ravel(), np.repeat(np.arange(n), components), permutations, seed)
    table, null = (contingency(column, parts) for parts in (peaks.ravel(), exchanged))
    table[:, 0], null[..., 0] = 0, 0  # a peak outside is in nobody's favourite part
    consistency, null = ((counts.max(-1) / n).mean(-1) for counts in (table, null))
    favourites = len(np.unique(table.argmax(-1)[table.any(-1)]))
    return Pointing(float((peaks > 0).mean()), float(consistency), favourites, null, n)


def weighted_mean(measured: Sequence[Agreement] | Sequence[Pointing]):
    """The mean over classes, weighted by their samples; its null is the mean of the classes' nulls."""
    weights = np.array([one.n for one in measured])
    columns = ([getattr(one, field.name) for one in measured] for field in fields(measured[0])[:-1])
    return type(measured[0])(*(np.average(column, axis=0, weights=weights) for column in columns), int(weights.sum()))


def p_value(observed: float, null: np.ndarray) -> float:
    """Share of values at least as large as the observed one, which counts as one of them."""
    return float((1 + (null >= observed - 1e-12).sum()) / (1 + len(null)))


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """In nats, over the last axis."""
    return -(probabilities * np.log(np.where(probabilities > 0, probabilities, 1))).sum(-1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    zero = np.abs(denominator) < 1e-12
    return np.where(zero, 0.0, numerator / np.where(zero, 1.0, denominator))
