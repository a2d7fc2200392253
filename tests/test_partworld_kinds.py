"""The 36 kinds: drawn from their class's parts, told apart by their outline, with patterns that stick to them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vdalib.data.partworld.dice import Dice
from vdalib.data.partworld.objects import CLASS_PARTS, CLASSES, KIND_NAMES, KINDS, KINDS_OF, PART_ID
from vdalib.data.partworld.palette import COLOURS
from vdalib.data.partworld.patterns import PATTERNS, pattern, tone
from vdalib.data.partworld.shapes import Affine, Canvas, box, capsule, ellipse, extent, polygon, signed_distance
from vdalib.data.partworld.sketch import Sketch, Stroke, placed, strokes_extent

ALL_POSES = [(kind, pose) for kind in KIND_NAMES for pose in KINDS[kind].poses]


def sketch(kind: str, pose: str, draw: int = 0) -> Sketch:
    drawn = Sketch(Dice(5, draw), kind, "red", "blue", pose)
    KINDS[kind].draw(drawn)
    return drawn


def fitted(strokes: list[Stroke], size: float, x: float = 2.0, y: float = 2.0, **affine) -> list[Stroke]:
    """The strokes so that their longer side is `size` px and their top left corner lies at (x, y)."""
    strokes = placed(strokes, Affine(**affine))
    left, top, right, bottom = strokes_extent(strokes)
    scale = size / max(right - left, bottom - top)
    return placed(strokes, Affine(scale, x - left * scale, y - top * scale))


def painted(kind: str, strokes: list[Stroke], height: int, width: int) -> Canvas:
    canvas = Canvas(np.full((3, height, width), 128, np.float32))
    for stroke in strokes:
        canvas.paint(
            list(stroke.shapes),
            stroke.rgb,
            part=PART_ID[KINDS[kind].class_name, stroke.part],
            owner=1,
            blend=stroke.blend,
            outline=0.42 if stroke.outlined else 0.0,
            shade=0.3 if stroke.outlined else 0.0,
            pattern=stroke.pattern,
        )
    return canvas


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two silhouettes."""
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_every_class_has_three_or_four_kinds_and_each_kind_one_class():
    assert tuple(CLASS_PARTS) == CLASSES == tuple(sorted(CLASSES))
    assert len(KIND_NAMES) == 36
    assert sorted(kind for kinds in KINDS_OF.values() for kind in kinds) == sorted(KIND_NAMES)
    assert {len(kinds) for kinds in KINDS_OF.values()} == {3, 4}


@pytest.mark.parametrize(("kind", "pose"), ALL_POSES)
def test_kind_draws_parts_of_its_class_alone_and_always_its_main_part(kind, pose):
    parts, optional, seen = CLASS_PARTS[KINDS[kind].class_name], KINDS[kind].optional, set()
    assert parts[0] not in optional
    for draw in range(12):
        drawn = {stroke.part for stroke in sketch(kind, pose, draw).strokes}
        assert parts[0] in drawn
        seen |= drawn
    assert seen == set(KINDS[kind].parts) == {part for part in parts if optional.get(part, 0.0) < 1.0}


@pytest.mark.parametrize("name", CLASSES)
def test_kinds_of_a_class_differ_in_outline_more_than_draws_of_a_kind(name):
    for pose in KINDS[KINDS_OF[name][0]].poses:
        outlines = {
            kind: [painted(kind, fitted(sketch(kind, pose, draw).strokes, 96), 100, 100).owner > 0 for draw in range(3)]
            for kind in KINDS_OF[name]
        }
        own = {kind: np.mean([overlap(a, b) for a, b in itertools.combinations(o, 2)]) for kind, o in outlines.items()}
        for a, b in itertools.combinations(outlines, 2):
            across = np.mean([overlap(x, y) for x, y in itertools.product(outlines[a], outlines[b])])
            assert across < 0.8, (a, b, pose, across)
            assert across < min(own[a], own[b]), (a, b, pose, across)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_object_moved_by_whole_pixels_has_the_same_pixels(kind):
    pose = next(iter(KINDS[kind].poses))
    strokes = fitted(sketch(kind, pose).strokes, 60, cos=0.8, sin=0.6)
    here = painted(kind, strokes, 100, 100)
    there = painted(kind, placed(strokes, Affine(dx=16, dy=32)), 100, 100)
    assert np.mean(np.abs(there.rgb[:, 32:, 16:] - here.rgb[:, :-32, :-16]) > 0.5) < 1e-3
    assert np.mean(there.part[32:, 16:] != here.part[:-32, :-16]) < 1e-3


@pytest.mark.parametrize("name", PATTERNS)
def test_pattern_turns_scales_and_mirrors_with_its_object(name):
    plain, affine = pattern(name, 0.1, 0.5, degrees=30, ratio=1.5), Affine(50, 40, 45, 0.8, 0.6, mirrored=True, narrow=0.7)
    moved = affine.pattern(plain)
    for x, y in ((0.13, -0.21), (-0.37, 0.08), (0.02, 0.44)):
        px, py = affine.point(x, y)
        (ox, oy), at = moved.origin, plain.origin
        for before, after in ((plain.along, moved.along), (plain.across, moved.across)):
            there = (px - ox) * after[0] + (py - oy) * after[1]
            assert there == pytest.approx((x - at[0]) * before[0] + (y - at[1]) * before[1])


@pytest.mark.parametrize("name", PATTERNS)
def test_pattern_stays_in_0_to_1_and_fades_where_it_is_finer_than_pixels(name):
    x, y = np.arange(64, dtype=np.float32)[None] + 0.5, np.arange(64, dtype=np.float32)[:, None] + 0.5
    coarse, fine = (np.broadcast_to(tone(pattern(name, period, 0.5), x, y), (64, 64)) for period in (12.0, 0.7))
    assert coarse.dtype == np.float32
    assert 0 <= min(coarse.min(), fine.min()) and max(coarse.max(), fine.max()) <= 1
    assert fine.std() < 0.7 * coarse.std()


@pytest.mark.parametrize("corner", [(-30.0, 10.0), (70.0, 40.0), (20.0, -25.0), (30.0, 50.0)])
def test_object_cut_by_the_border_is_the_object_on_a_larger_canvas(corner):
    strokes = fitted(sketch("terrier", "standing").strokes, 80, *corner)
    cut = painted("terrier", strokes, 72, 96)
    whole = painted("terrier", placed(strokes, Affine(dx=64, dy=64)), 72 + 128, 96 + 128)
    assert 0 < np.count_nonzero(cut.owner) < np.count_nonzero(whole.owner)
    assert np.mean(cut.part != whole.part[64:-64, 64:-64]) < 1e-3


def test_drawing_off_the_canvas_writes_nothing_and_costs_nothing(monkeypatch):
    def unexpected(*_):
        raise AssertionError("evaluated off the canvas")

    monkeypatch.setattr("vdalib.data.partworld.shapes.signed_distance", unexpected)
    strokes = sketch("zebra", "standing").strokes
    for corner in ((-500, 10), (500, 10), (10, -500), (10, 500), (-500, -500)):
        canvas = painted("zebra", fitted(strokes, 90, *corner), 64, 80)
        assert not canvas.part.any() and not canvas.owner.any() and (canvas.rgb == 128).all()


@pytest.mark.parametrize("size", [20, 96, 220])
def test_every_kind_is_drawn_at_every_size(size):
    for n, (kind, pose) in enumerate(ALL_POSES):
        main, second = COLOURS[n % 9], COLOURS[(n + 4) % 9]
        drawn = Sketch(Dice(2, n), kind, main, second, pose)
        KINDS[kind].draw(drawn)
        canvas = painted(kind, fitted(drawn.strokes, size, mirrored=n % 2 > 0, narrow=0.7), size + 4, size + 4)
        rows, columns = np.flatnonzero(canvas.owner.any(1)), np.flatnonzero(canvas.owner.any(0))
        longer = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        assert size * 0.85 - 2 <= longer <= size + 2, (kind, pose, longer)
        assert np.isfinite(canvas.rgb).all()


def test_narrowed_shapes_are_as_much_narrower_and_as_high():
    shapes = [ellipse(3, 4, 5, 2), box(3, 4, 5, 2, 1), polygon((0, 0), (8, 1), (5, 6)), capsule(1, 0, 1.5, 1, 9, 1.5)]
    for shape in shapes:
        left, top, right, bottom = extent(Affine(narrow=0.5)(shape))
        wide = extent(shape)
        assert (right - left, bottom - top) == pytest.approx(((wide[2] - wide[0]) / 2, wide[3] - wide[1]), rel=0.2)
        assert (left + right) / 2 == pytest.approx((wide[0] + wide[2]) / 4)


def test_strokes_of_several_shapes_are_the_minimum_of_their_distances():
    shapes = [ellipse(12, 12, 6, 4), box(50, 40, 5, 8), capsule(20, 50, 3, 44, 12, 5)]
    canvas = Canvas(np.zeros((3, 64, 64), np.float32))
    canvas.paint(shapes, (255, 0, 0), part=1, owner=1)
    x, y = np.arange(64, dtype=np.float32)[None] + 0.5, np.arange(64, dtype=np.float32)[:, None] + 0.5
    distance = np.minimum.reduce([signed_distance(shape, x, y) for shape in shapes])
    assert np.array_equal(canvas.part > 0, distance < 0)
