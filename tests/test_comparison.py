"""Runs side by side: what differs is found, and paired differences are those done by hand."""

import csv
import io
import json
import math
import os

import numpy as np
import pytest

from vdalib.commands.cli import main
from vdalib.config import Config
from vdalib.evaluation.comparison import Difference, Record, difference, differing, variants
from vdalib.evaluation.measures import Measures, logged_rows
from vdalib.explore.comparing import compare

CLASSES = ("background", "cat", "dog")


def made_up(folder, seed=0, miou=None, classes=None, **settings):
    """A run directory without a training: settings, six rows of metrics, measures."""
    folder.mkdir()
    settings = {name.replace("__", "."): value for name, value in settings.items()}
    Config.from_preset("partworld-smoke", {"seed": seed, **settings}).save(folder / "config.yaml")
    rows = [{"step": step, "stage": 0, "time": 1.8e9, "segmentation": 1.0 + seed - 0.1 * step} for step in range(6)]
    rows[-1]["miou"] = 50.0 + seed
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if miou is not None:
        per_class = {"miou": dict(zip(CLASSES, classes))} if classes else {}
        Measures({"miou": miou}, per_class).write(folder / "metrics.json")
    return folder


@pytest.fixture
def six(tmp_path):
    """Three seeds without fusion, three with; the seeds differ by far more than the variants do."""
    folders = []
    for fusion, gains in ((False, (0, 0, 0)), (True, (2, 3, 4))):
        for seed, (base, gain) in enumerate(zip((50.0, 60.0, 70.0), gains)):
            of_class = (90.0, base + gain, base - gain)
            name = f"{'with' if fusion else 'without'}_{seed}"
            folders.append(made_up(tmp_path / name, seed, base + gain, of_class, assembly__fusion=fusion))
    return folders


def test_paired_differences_leave_out_what_the_seeds_share(six):
    without, fused = variants([Record.read(folder) for folder in six])
    assert (without.label, fused.label) == ("fusion=False", "fusion=True") and fused.seeds == [0, 1, 2]
    gain = difference(without.values("miou"), fused.values("miou"))
    assert gain == Difference(3.0, pytest.approx(1 / math.sqrt(3)), 3)  # 2, 3, 4
    assert difference(without.values("miou", "dog"), fused.values("miou", "dog")).mean == -3
    spread = np.std([50, 60, 70], ddof=1) / math.sqrt(3)
    assert gain.error < spread / 5


def test_runs_without_shared_seeds_are_compared_by_their_means():
    gain = difference({0: 50.0, 1: 54.0}, {2: 60.0, 3: 66.0})
    assert gain == Difference(11.0, pytest.approx(math.hypot(2.0, 3.0)), 0)
    one = difference({0: 50.0}, {0: 53.0})
    assert (one.mean, one.pairs) == (3.0, 1) and math.isnan(one.error)
    assert difference({0: 50.0, 1: 54.0}, {1: 55.0, 2: 70.0}).pairs == 0  # one pair alone has no error
    assert difference({}, {0: 1.0}) is None


def test_of_two_measurements_of_a_run_the_later_counts(tmp_path):
    folder = made_up(tmp_path / "run", miou=40.0)
    os.utime(folder / "metrics.json", (1, 1))
    Measures({"miou": 50.0}).write(folder / "evaluation.json")
    assert Measures.of_run(folder).table == {"miou": 50.0}
    os.utime(folder / "evaluation.json", (0, 0))
    assert Measures.of_run(folder).table == {"miou": 40.0}


def test_only_what_is_computed_differs(tmp_path):
    first = made_up(tmp_path / "a")
    second = made_up(tmp_path / "b", data__workers=3, mixture__attributes=5, schedule__learning_rate=0.1)
    records = [Record.read(first), Record.read(second)]
    assert differing(records) == ["mixture.attributes", "schedule.learning_rate"]
    assert [variant.label for variant in variants(records)] == [
        "attributes=3, learning_rate=0.001",
        "attributes=5, learning_rate=0.1",
    ]


def test_runs_on_other_pictures_are_other_variants_and_those_with_other_colours_are_not(tmp_path):
    records = []
    for name, root, colour in (("a", "garden", "#ff0000"), ("b", "garden", "#00ff00"), ("c", "hospital", "#ff0000")):
        (tmp_path / name).mkdir()
        changes = {"data.root": root, "data.colours": {"cat": colour}, "data.classes": ["cat"], "seed": len(records)}
        Config.from_preset("folder", changes).save(tmp_path / name / "config.yaml")
        records.append(Record.read(tmp_path / name))
    assert [variant.seeds for variant in variants(records)] == [[0, 1], [2]]


def test_the_tables_say_settings_means_and_gains(six):
    text = compare(*six).markdown()
    assert "| setting | fusion=False | fusion=True |" in text and "| assembly.fusion | False | True |" in text
    assert "| val, plain | 60.0 ± 5.8 | 63.0 ± 6.4 | +3.0 ± 0.6 (3) |" in text
    assert "| IoU, %, val, plain | fusion=False | fusion=True | fusion=True - fusion=False |" in text
    assert "| dog | 60.0 ± 5.8 | 57.0 ± 5.2 | -3.0 ± 0.6 (3) |" in text
    assert compare(*six)._repr_markdown_() == text


def test_csv_has_every_number_under_its_name_in_files(six):
    rows = list(csv.DictReader(io.StringIO(compare(*six).csv())))
    assert len(rows) == 2 * (1 + len(CLASSES))
    [found] = [row for row in rows if row["class"] == "cat" and row["variant"] == "fusion=True"]
    assert found["measure"] == "miou" and found["runs"] == found["pairs"] == "3"
    assert [float(found[name]) for name in ("mean", "difference")] == [63.0, 3.0]
    assert float(found["its standard error"]) == pytest.approx(1 / math.sqrt(3), abs=1e-4)


def test_curves_are_means_over_a_variants_runs(six):
    figure, axes = compare(*six).curves()
    loss, miou = axes.flat[:2]
    assert (loss.get_ylabel(), miou.get_ylabel()) == ("segmentation", "val, plain")
    for line in loss.get_lines():
        np.testing.assert_allclose(line.get_ydata(), 2.0 - 0.1 * np.arange(6))  # seeds 0, 1, 2 on 1, 2, 3
    assert [line.get_xydata().tolist() for line in miou.get_lines()] == [[[5, 51]], [[5, 51]]]
    figure, axis = compare(*six).class_differences()
    assert [bar.get_height() for bar in axis.patches] == [0, 3, -3]


def test_names_that_matplotlib_would_hide_or_take_for_mathematics_are_in_the_legend(tmp_path):
    changed = {"mixture__attributes": 5, "mixture__recent": 9, "schedule__learning_rate": 0.1}
    figure, _ = compare(made_up(tmp_path / "_one"), made_up(tmp_path / "$^$", **changed)).curves()
    figure.canvas.draw()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["_one", r"\$^\$"]


def test_the_command_prints_and_leaves_tables_and_figures(six, tmp_path, capsys):
    main(["compare", *map(str, six), "--out", str(tmp_path / "out")])
    assert "| val, plain |" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"comparison.md", "comparison.csv", "curves.png", "class_differences.png"}
    main(["compare", "--csv", *map(str, six), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.startswith("measure,class,variant,")


def test_runs_that_were_not_evaluated_are_named(six, tmp_path):
    text = compare(six[0], made_up(tmp_path / "young")).markdown()
    assert f"Not evaluated yet: {tmp_path / 'young'} (`vdalib evaluate --run RUN`)" in text
    assert "| val, plain | 50.0 |  |  |" in text


def test_runs_that_have_not_ended_and_other_pictures_are_named(tmp_path):
    schedule = {"schedule__segmenter_steps": 2, "schedule__inter_steps": 2, "schedule__total_steps": 6}
    ended = [made_up(tmp_path / str(seed), seed, 50.0, **schedule) for seed in range(2)]
    told = compare(*ended).markdown()
    assert "not ended" not in told and "same images" not in told
    stopped = made_up(tmp_path / "stopped", 0, 40.0, data__val_size=3, data__crop=64)
    told = compare(*ended, stopped).markdown()
    assert f"**Training has not ended:** {stopped} (step 6 of 32)\n" in told
    assert "**Not on the same images:** data.val_size differ" in told


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.json", "[]", "metrics.json: not measures .*evaluate the run again"),
        ("metrics.json", '{"table": {"miou": "high"}}', "metrics.json: not measures"),
        ("metrics.jsonl", '{"step": 0}\n{"st\n{"step": 2}\n', "metrics.jsonl line 2: expected an object with `step`"),
        ("config.yaml", None, "config.yaml: missing"),
    ],
)
def test_broken_runs_are_refused_in_a_line(six, name, content, message):
    if content is None:
        (six[1] / name).unlink()
    else:
        (six[1] / name).write_text(content)
    with pytest.raises(SystemExit, match=f"error: .*{message}") as error:
        main(["compare", *map(str, six)])
    assert "\n" not in str(error.value)


def test_a_last_row_that_was_cut_short_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"st')
    assert logged_rows(tmp_path) == [{"step": 0}]


def test_fewer_than_two_runs_and_unknown_measures_are_refused(six):
    with pytest.raises(ValueError, match="expected at least two run directories"):
        compare(six[0])
    with pytest.raises(ValueError, match=r"measure 'mioo': not every run has it by class \(known: miou; did you mean 'miou'\?\)"):
        compare(*six, measure="mioo")
