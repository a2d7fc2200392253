"""The ablation: rows that differ from `all`, a file that many processes write, differences and verdicts done by hand."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

from vdalib import __version__  # noqa: E402
from vdalib.config import Config  # noqa: E402
from vdalib.evaluation.ablation import AIMS, by_row, is_finding, paired, present_entries  # noqa: E402
from vdalib.explore import ablation as explained  # noqa: E402

TWO_THINGS = {  # row -> the row that it is one setting away from, or all the settings that it changes
    "text template only": "+ VDAF",
    "text template only, cut 0.6": "text template only",
    "alpha 1": {"assembly.density", "assembly.static_density"},
    "alpha 0.6, attributes start at k-means": "alpha 0.6",
    "class mean, no INN": {"method", "options"},
    "k-means of 8 a class, no INN": {"method", "options"},
    "permutations, losses divided by D": "permutations in the flow",
    "stages of 30 and 20 %": {"schedule.segmenter_steps", "schedule.inter_steps"},
}


def entry(row, seed, value, **more):
    about = {"row": row, "seed": seed, "preset": "partworld", "precision": "no", "version": __version__}
    return about | {"seed_miou": value, "miou": value + 1, "miou_ms_crf": value + 2} | more


def runs(**values):
    """Rows with a value for each seed from 0 on; _ stands for a blank."""
    return by_row(entry(row, seed, value) for row, found in values.items() for seed, value in enumerate(found))


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import ablation

    return ablation


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_each_row_differs_from_all_in_one_setting(benchmark):
    rows = benchmark.distinct(benchmark.ROWS, "partworld")
    assert benchmark.ROWS.keys() - rows.keys() == {"M = 8"}
    configs = {name: Config.from_preset("partworld", changes) for name, changes in rows.items()}
    for name, config in configs.items():
        known = TWO_THINGS.get(name, "all")
        changed = configs[known if isinstance(known, str) else "all"].differences(config).keys()
        if isinstance(known, set):
            assert set(changed) == known, name
        else:
            assert len(changed) == (name != "all"), f"{name}: {changed}"
    assert {row for aim in AIMS for row in (aim.better, aim.worse)} <= set(rows)


def test_a_row_that_the_preset_already_is_is_not_run(benchmark):
    rows = benchmark.distinct(benchmark.ROWS, "partworld")
    assert "M = 8" in benchmark.ROWS and "M = 8" not in rows and list(rows)[4] == "all"
    assert list(benchmark.distinct({"a": {}, "b": {"mixture.attributes": 8}}, "partworld")) == ["a"]


def test_no_entry_is_lost_where_many_write_at_once(benchmark, tmp_path):
    path = tmp_path / "runs.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: benchmark.keep(path, entry("all", n % 20, n)), range(40)))
    kept = json.loads(path.read_text())
    assert sorted(run["seed"] for run in kept) == list(range(20))


def test_only_what_is_missing_is_run_and_other_versions_do_not_count(benchmark, tmp_path, monkeypatch, capsys):
    path, made = tmp_path / "runs.json", []
    old = entry("all", 2, 9.0) | {"version": "0.0.1"}
    path.write_text(json.dumps([entry("all", 0, 50.0), old]))

    def fake(about, changes, measure, threads, results):
        made.append((about["row"], about["seed"]))
        run = entry(about["row"], about["seed"], 50.0 + len(changes) + about["seed"])
        benchmark.keep(results, run)
        return run

    monkeypatch.setattr(benchmark, "train_and_measure", fake)
    monkeypatch.setattr(sys, "argv", f"ablation --seeds 0 2 --jobs 1 --results {path} --rows".split() + ["all", "M = 3"])
    for expected in ([("M = 3", 0), ("all", 2), ("M = 3", 2)], []):
        made.clear()
        benchmark.main("", benchmark.ROWS, path, dict, benchmark.markdown)
        assert made == expected
    assert old in json.loads(path.read_text()) and old not in present_entries(path)
    assert "| M = 3 | 2 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--rows", "M = 8"], "--rows: with preset partworld M = 8 is what another row is already, or cannot be"),
        (["--preset", "partworld-smoke", "--rows", "stages of 30 and 20 %"], "partworld-smoke stages of 30 and 20 % is what"),
        (["--results", "file/runs.json"], "--results: file/runs.json cannot be written"),
        (["--results", "file"], "file: no list of a benchmark's entries .*restore it or choose another file"),
        (["--jobs", "0"], "--jobs: invalid choice"),
    ],
)
def test_what_cannot_be_run_or_kept_is_refused_before_a_training(benchmark, given, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("[{")
    monkeypatch.setattr(benchmark, "train_and_measure", lambda *_: pytest.fail("a training"))
    monkeypatch.setattr(sys, "argv", ["ablation", *given])
    with pytest.raises((SystemExit, ValueError)) as error:
        benchmark.main("", benchmark.ROWS, tmp_path / "runs.json", dict, benchmark.markdown)
    assert re.search(message, f"{error.value} {capsys.readouterr().err}")


def test_differences_are_of_the_seeds_that_both_rows_have():
    own = {0: 60.0, 1: 70.0, 2: 65.0, 3: 65.0, 4: 65.0}
    less = {1: 66.0, 0: 58.0, 2: 62.0, 3: 62.0, 4: 62.0, 7: 0.0}
    runs = [entry("all", *run) for run in own.items()] + [entry("x", *run) for run in less.items()]
    rows = by_row(runs)
    gain = paired(rows, "all", "x", lambda run: run["miou"])
    assert (gain.mean, gain.error, gain.pairs) == (3.0, pytest.approx(0.1**0.5), 5) and is_finding(gain)
    of_four = paired(by_row(run for run in runs if run["seed"] < 4), "all", "x", lambda run: run["miou"])
    assert (of_four.mean, of_four.error) == (3.0, pytest.approx(6**-0.5)) and not is_finding(of_four)
    assert paired(rows, "all", "nowhere", lambda run: run["miou"]) is None
    assert "| x | 5 | **-3.00 ± 0.32** |" in explained.differences(rows)
    assert explained.differences(rows, measures={"miou": "val"}).splitlines()[-1] == "| x | 5 | **-3.00 ± 0.32** |"


@pytest.mark.parametrize(
    ("row", "other", "verdict"),
    [
        ("text template only", [57, 58, 58, 57, 58], "met"),
        ("text template only", [57, 64, 60, 57, 64], "undecided"),
        ("text template only", [61, 62.1, 63.2, 64, 65], "missed"),
        ("class mean, no INN", [60, 61, 62, 63, 64], "undecided"),  # the same computation
        ("all but the reliable filter", [59.4, 60.5, 61.3, 62.5, 63.4], "missed"),  # above, but by less than one point
        ("all but the reliable filter", [58, 61, 60, 63, 62], "undecided"),
        ("all but the reliable filter", [58.5, 59.6, 60.5, 61.5, 62.5], "met"),
        ("M = 3", [58, 59.1, 60, 61], "undecided"),  # four pairs
    ],
)
def test_an_aim_is_met_or_missed_where_two_standard_errors_of_five_pairs_say_so(row, other, verdict):
    rows = runs(**{"all": [60, 61, 62, 63, 64], row: other})
    (aim,) = (aim for aim in AIMS if aim.worse == row)
    assert aim.verdict(paired(rows, aim.better, aim.worse, lambda run: run["miou"])) == verdict
    (line,) = (line for line in explained.aims(rows).splitlines() if aim.says in line)
    assert line.count(f": {verdict} |") == 3


def test_a_row_far_away_is_a_number_at_the_edge_of_the_forest():
    pytest.importorskip("matplotlib").use("Agg")
    _, (axis, *_) = explained.forest(runs(all=[60, 61, 62, 63, 64], near=[61, 62.1, 63, 64, 65], far=[40, 41.5, 42, 43, 44]))
    assert [text.get_text() for text in axis.texts] == ["-19.9"] and axis.get_xlim() == (-explained.FAR, explained.FAR)


@pytest.mark.parametrize("rows", [{}, runs(x=[50]), runs(all=[50]), runs(all=[50], x=[40])], ids=["none", "x", "all", "one seed"])
def test_too_few_runs_are_said_and_crash_nothing(rows):
    assert ": met" not in explained.aims(rows) and ": missed" not in explained.aims(rows)
    assert not explained.comparable(rows) and explained.per_class(rows, ["x"]) == ""
    assert explained.means(rows) is not None and explained.differences(rows) is not None
    with pytest.raises(ValueError, match="rows: expected some that share 5 seeds with 'all'"):
        explained.forest(rows)


def test_the_curve_of_updates_stands_at_its_rows_counts_and_has_two_standard_errors_to_each_side():
    steady = {"63 replayed updates after each": [60.5, 60.5, 60.5, 60, 61]}
    rows = runs(**{"all": [60, 61, 60.5, 60, 61], "no replay": [58, 60, 59, 58.5, 59.5]} | steady)
    _, axes = explained.updates(rows, replay=31)
    line, _, (bars,) = axes[0].containers[0]
    two = 2 * (0.5 / 20) ** 0.5
    np.testing.assert_allclose(line.get_xydata(), [[1, -1.5], [32, 0], [64, 0]])
    np.testing.assert_allclose(
        [segment[:, 1] for segment in bars.get_segments()], [[-1.5 - two, -1.5 + two], [0, 0], [-two, two]]
    )
    with pytest.raises(ValueError, match="expected some of no replay, 7 replayed"):
        explained.updates(runs(all=[60, 61]), replay=31)


def test_the_forest_has_two_standard_errors_to_each_side():
    x, y = [58, 60, 59, 58.5, 59.5], [60.5, 60.5, 60.5, 60, 61]
    _, axes = explained.forest(runs(all=[60, 61, 60.5, 60, 61], x=x, y=y, z=[70, 71]))
    lines, dots = axes[0].collections
    two = 2 * (0.5 / 20) ** 0.5
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["x", "y"]
    assert dots.get_offsets()[:, 0].tolist() == pytest.approx([-1.5, 0.0])
    np.testing.assert_allclose([segment[:, 0] for segment in lines.get_segments()], [[-1.5 - two, -1.5 + two], [-two, two]])


def test_prototypes_are_counted_over_all_classes_and_the_poorest_is_named():
    counts = {
        "all": ([3, 9, 8], [5, 7, 12], [4, 9, 9]),
        "filter at 0.95": ([0, 1, 0], [1, 1, 0], [2, 0, 1]),
    }
    rows = by_row(entry(row, seed, 60.0, prototypes=n) for row, found in counts.items() for seed, n in enumerate(found))
    lines = explained.fed(rows | by_row([entry("text template only", 0, 60.0)])).splitlines()
    assert lines[2:] == ["| all (3) | 22 ± 1 | 3 | 0 |", "| filter at 0.95 (3) | 2 ± 1 | 0 | 2 |"]
    assert explained.fed(by_row([entry("all", 0, 60.0)])) == ""


def test_errors_of_classes_add_up_over_seeds():
    of = {"bird": [50.0, 3.0]}
    rows = by_row([entry("all", seed, 60.0, per_class=of | {"cat": [40.0 + seed, 4.0]}) for seed in (0, 1)])
    rows |= by_row([entry("x", seed, 60.0, per_class={"bird": [48.0, 1.0]}) for seed in (0, 1)])
    lines = explained.per_class(rows, ["x", "nowhere"]).splitlines()
    assert lines[2:] == ["| bird | 50.0 ± 2.1 | +2.00 ± 0.00 |", "| cat | 40.5 ± 2.8 |  |"]
    (last,) = explained.per_class(rows, ["x"], apart="cat").splitlines()[4:]
    assert last == "| mean of all but cat | 50.0 ± 0.0 | +2.00 ± 0.00 |"
