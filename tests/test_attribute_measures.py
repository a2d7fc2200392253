"""Measures of attribute components against scikit-learn, plain loops and the enumeration of all permutations."""

from collections import Counter
from itertools import combinations, permutations
from math import log

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from vdalib.evaluation import attributes
from vdalib.evaluation.attributes import (
    agreement,
    components_used,
    contingency,
    correlation_inside,
    matched,
    named,
    p_value,
    pointing_game,
    weighted_mean,
)

DICE = np.random.default_rng(0)
PAIRS = [(DICE.integers(0, i, n), DICE.integers(0, j, n)) for i, j, n in ((8, 5, 200), (3, 9, 31), (2, 2, 7), (8, 8, 8))]
PAIRS += [(labels, labels) for labels, _ in PAIRS[:2]]


def brute_nmi(a, b):
    n, pairs, first, second = len(a), Counter(zip(a, b)), Counter(a), Counter(b)
    shared = sum(count / n * log(n * count / (first[i] * second[j])) for (i, j), count in pairs.items())
    entropies = [-sum(count / n * log(count / n) for count in counts.values()) for counts in (first, second)]
    return 2 * shared / sum(entropies)


def brute_ari(a, b):
    """From all pairs of samples: joined by both, by one, by the other."""
    pairs = [(a[i] == a[j], b[i] == b[j]) for i in range(len(a)) for j in range(i)]
    both, first, second = sum(x and y for x, y in pairs), sum(x for x, _ in pairs), sum(y for _, y in pairs)
    expected = first * second / len(pairs)
    return (both - expected) / ((first + second) / 2 - expected)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_nmi_ari_and_purity_are_scikit_learns_and_those_of_plain_loops(a, b):
    a, b = a.tolist(), b.tolist()
    found = agreement(a, b, permutations=1)
    assert found.nmi == pytest.approx(brute_nmi(a, b)) == pytest.approx(normalized_mutual_info_score(b, a))
    assert found.ari == pytest.approx(brute_ari(a, b)) == pytest.approx(adjusted_rand_score(b, a))
    commonest = [max(Counter(y for x, y in zip(a, b) if x == i).values()) for i in set(a)]
    assert found.purity == pytest.approx(sum(commonest) / len(a))


def test_components_in_use_are_counted_by_the_entropy_of_their_shares():
    assert components_used([[5, 5], [10, 0], [0, 0]]) == pytest.approx(2)
    assert components_used([[8, 0], [0, 0]]) == pytest.approx(1)
    shares = np.array([0.7, 0.2, 0.1])
    assert components_used(np.diag([7, 2, 1])) == pytest.approx(np.prod(shares**-shares))


def test_a_component_is_named_by_the_part_of_half_of_its_samples_if_it_has_enough_of_them():
    table = [[50, 50, 0], [0, 40, 41], [0, 2, 39], [9, 0, 0], [0, 0, 0]]  # 231 samples, a twentieth are 12
    assert named(table) == {0: 0, 1: 2, 2: 2}
    components, labels = np.array([(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]).T
    assert agreement(components, labels, permutations=1).named == 2


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_matched_labels_are_the_best_of_all_ways_to_give_each_label_once(shape):
    table = DICE.integers(1, 30, shape)
    found = matched(table)
    (rows,) = np.nonzero(found >= 0)
    assert len(rows) == min(shape) == len(set(found[rows]))
    wide = table if shape[0] <= shape[1] else table.T
    ways = permutations(range(wide.shape[1]), wide.shape[0])
    assert table[rows, found[rows]].sum() == max(sum(wide[i, j] for i, j in enumerate(way)) for way in ways)


def test_a_component_without_a_sample_in_common_with_a_label_is_matched_with_none():
    assert matched([[0, 3], [0, 0], [0, 1]]).tolist() == [1, -1, -1]


def test_correlation_inside_objects_is_that_of_a_plain_loop_and_ignores_their_level():
    objects, cams = np.repeat([4, 1, 9, 2], [30, 7, 3, 12]), DICE.normal(size=(52, 3))
    expected = [
        np.mean([np.corrcoef(cams[objects == o, i], cams[objects == o, j])[0, 1] for i, j in combinations(range(3), 2)])
        for o in (1, 2, 4)  # 9 has too few patches
    ]
    assert correlation_inside(cams, objects) == pytest.approx(expected)
    assert correlation_inside(cams + 100 * objects[:, None], objects) == pytest.approx(expected)
    alike = np.stack([cams[:, 0], 2 * cams[:, 0] + 1, np.ones(52)], axis=1)  # the third is flat
    assert correlation_inside(alike[:, :2], objects) == pytest.approx([1, 1, 1])
    assert correlation_inside(alike, objects) == pytest.approx([1 / 3] * 3)


def test_many_tables_at_once_are_the_tables_one_by_one():
    components, labels = DICE.integers(0, 4, 50), DICE.integers(0, 3, (6, 50))
    tables = contingency(components, labels)
    for measure in (attributes.normalised_mutual_information, attributes.adjusted_rand_index, attributes.purity):
        single = [measure(contingency(components, row)) for row in labels]
        np.testing.assert_allclose(measure(tables), single)


def test_what_does_not_vary_tells_nothing():
    found = agreement(np.zeros(9, int), np.zeros(9, int), permutations=3)
    assert (found.nmi, found.ari, found.purity) == (0, 0, 1)
    assert agreement(np.zeros(9, int), np.arange(9), permutations=3).nmi == 0


def test_the_null_of_a_permutation_test_is_the_mean_over_all_permutations():
    a, b = [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 0]
    every = np.array([brute_nmi(a, order) for order in permutations(b)])
    found = agreement(a, b, permutations=4000)
    assert found.null.mean() == pytest.approx(every.mean(), abs=0.01)
    assert found.numbers()["p"] == pytest.approx((every >= brute_nmi(a, b) - 1e-9).mean(), abs=0.02)
    assert p_value(2.0, found.null) == pytest.approx(1 / 4001)  # never zero


def test_labels_move_within_their_group_only_and_in_every_way():
    groups, labels = np.array([7, 3, 7, 3, 7, 1]), np.array([0, 1, 2, 3, 4, 5])
    found = attributes.permuted(labels, groups, 600)
    for group in set(groups):
        assert (np.sort(found[:, groups == group]) == labels[groups == group]).all()
    arrangements = Counter(map(tuple, found))
    assert len(arrangements) == 12 and min(arrangements.values()) > 20  # 3! * 2! * 1!, 50 each on average


def test_components_that_know_the_object_alone_are_no_better_than_their_null():
    objects = np.repeat(np.arange(40), 10)
    favourite = DICE.integers(0, 3, 40)[objects]  # each object shows mostly one part
    parts = np.where(DICE.random(400) < 0.7, favourite, DICE.integers(0, 3, 400))
    within, across = agreement(favourite, parts, objects), agreement(favourite, parts)
    assert within.nmi == across.nmi > 0.1
    assert within.numbers()["p"] > 0.5 and across.numbers()["p"] < 0.01


def test_names_of_components_are_exchanged_in_each_group_and_in_every_way():
    components, groups = np.array([0, 0, 1, 2, 0, 1]), np.array([5, 5, 5, 5, 2, 2])
    found = attributes.renamed(components, groups, 900)
    assert (found[:, 0] == found[:, 1]).all() and (found[:, 2:4] != found[:, :2]).all()
    arrangements = Counter(map(tuple, found[:, [0, 2, 3, 4]]))
    assert len(arrangements) == 18 and min(arrangements.values()) > 25  # 3! in one group, 3 names for the first of the other


def test_pieces_that_are_coherent_within_an_object_alone_are_no_better_than_their_null():
    objects, place = np.repeat(np.arange(60), 12), np.tile(np.arange(12), 60)
    parts = place // 4  # three parts side by side in every object
    smooth = (place + DICE.integers(0, 12, 60)[objects]) // 4 % 3  # pieces as large, cut anywhere
    names = np.array([DICE.permutation(3) for _ in range(60)])  # of the pieces, others in each object
    chance, known = agreement(names[objects, smooth], parts, objects), agreement(parts, parts, objects)
    assert chance.numbers()["p"] > 0.05 and known.numbers()["p"] < 0.01


def test_classes_count_by_their_samples():
    many, few = agreement([0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0], permutations=5), agreement([0, 1], [0, 0], permutations=5)
    mean = weighted_mean([many, few])
    assert (mean.nmi, mean.n) == (pytest.approx(6 / 8), 8)
    np.testing.assert_allclose(mean.null, 6 / 8 * many.null + 2 / 8 * few.null)


def test_the_pointing_game_is_that_of_a_plain_loop():
    chances = ([0.1, 0.6, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1], [0.6, 0.0, 0.1, 0.3])
    peaks = np.stack([DICE.choice(4, 300, p=row) for row in chances], axis=1)
    shares, favourites = [], set()
    for column in peaks.T:
        part, hits = Counter(int(x) for x in column if x).most_common(1)[0]
        shares.append(hits / 300)
        favourites.add(part)
    found = pointing_game(peaks)
    assert found.consistency == pytest.approx(np.mean(shares))
    assert found.hit == pytest.approx(sum(x > 0 for row in peaks for x in row) / 900)
    assert found.favourites == len(favourites) == 2


def test_consistent_components_win_the_pointing_game_and_equal_ones_do_not():
    loyal = pointing_game(np.tile([1, 2, 3], (20, 1)))
    assert (loyal.hit, loyal.consistency, loyal.favourites) == (1, 1, 3)
    assert loyal.numbers()["p"] < 0.01 and loyal.null.mean() < 0.6
    alike = pointing_game(np.repeat(DICE.integers(1, 4, 20)[:, None], 3, axis=1))
    assert alike.favourites == 1 and alike.numbers()["p"] == 1
    astray = pointing_game(np.zeros((4, 2), int))
    assert (astray.hit, astray.consistency, astray.favourites) == (0, 0, 0)


def test_labellings_of_different_length_or_none_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(3,\), expected \(n,\)"):
        contingency([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="n > 0"):
        contingency([], [])
