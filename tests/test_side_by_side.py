"""Tables and figures that compare methods: numbers worked by hand, and every cell says where it is from."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vdalib.config.methods import BUILT_IN
from vdalib.explore.side_by_side import (
    NAMES,
    PUBLISHED,
    compared,
    confusion,
    cost_aims,
    entries_of,
    measured,
    parts_of_a_step,
    steps,
    time_and_quality,
    trainings,
)


def run(method, seed, **numbers):
    about = {"method": method, "seed": seed, "preset": "partworld", "precision": "bf16", "version": "1"}
    return about | {"seconds": 60.0, "peak_gib": 1.0, "seed_miou": 50.0, "miou": 60.0, "miou_ms_crf": 61.0} | numbers


def step(method, precision, hours, peak):
    about = {"method": method, "precision": precision, "batch_size": 4, "crop": 320, "steps": 3600, "version": "1"}
    return about | {"plain_seconds": 0.5, "hours": hours, "peak_gib": peak}


def cells(table):
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line]
    return {line[0]: line[1:] for line in lines}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_differences_and_ratios_are_paired_by_seed():
    runs = [
        run("vda", 0, miou_ms_crf=60.0, miou=50.0, seconds=10.0),
        run("vda", 1, miou_ms_crf=70.0, seconds=20.0),
        run("excel", 1, miou_ms_crf=68.0, seconds=10.0),
        run("excel", 0, miou_ms_crf=62.0, seconds=10.0, peak_gib=2.0),
        run("weclip", 7, miou_ms_crf=50.0),  # no seed in common
    ]
    quality, costs = map(cells, compared(runs).split("\n\n"))
    # miou 60 - 50 and 60 - 60; with CRF 62 - 60 and 68 - 70; times 10/10 and 10/20; memory 2/1 and 1/1
    assert quality["ExCEL (2)"] == ["50.0 ± 0.0", "60.0 ± 0.0", "65.0 ± 3.0", "0.0 ± 0.0", "5.0 ± 5.0", "0.0 ± 2.0"]
    assert costs["ExCEL (2)"] == ["10.0 ± 0.0", "1.50", "0.75", "1.50"]
    assert quality["VDA (2)"] == ["50.0 ± 0.0", "55.0 ± 5.0", "65.0 ± 5.0", "", "", ""]
    assert costs["VDA (2)"] == ["15.0 ± 5.0", "1.00", "1.00", "1.00"]
    assert quality["WeCLIP (1)"][3:] == ["", "", ""] and costs["WeCLIP (1)"] == ["60.0", "1.00", "", ""]


def test_the_confusion_ratio_is_false_over_true_pixels():
    runs = [run("vda", s, pixels={"boat": [30, 10 * s], "bus": [5, 10]}) for s in (1, 3)] + [run("text", 1)]
    assert cells(confusion(runs, {"boat": "water", "bus": "road"})) == {
        "false / true pixels": ["boat (water)", "bus (road)"],
        ":--": ["--:"] * 2,
        "VDA": ["2.0 ± 1.0", "0.5 ± 0.0"],
    }
    once_never = [run("toco", seed, pixels={"boat": [3, seed]}) for seed in (0, 1)]
    assert cells(confusion(once_never, {"boat": "water"}))["ToCo"] == ["∞"]
    assert not confusion([run("text", 1)], {"boat": "water"})


def test_every_cell_of_table_1_says_whether_it_was_measured_or_published():
    found = cells(trainings([run("vda", 0, peak_gib=1.0), run("vda", 1, seconds=180.0), run("text", 0)]))
    assert found["VDA"][:2] == ["2.0 ± 1.0 measured", "117 published"]
    assert found["VDA"][2:] == ["1.1 ± 0.0 measured", "4.5 published", "61.0 ± 0.0 measured", "79.9 published"]
    assert found["ToCo"] == ["not measured yet", "506 published", "not measured yet", "17.9 published"] + [
        "not measured yet",
        "71.1 published",
    ]
    assert found["text only"][:2] == ["1.0 measured", "none"]
    assert {NAMES[name] for name in BUILT_IN} <= found.keys()
    assert cells(trainings([]))["VDA"][0] == "not measured yet"


def test_the_ratios_of_steps_are_those_of_one_precision():
    found = cells(steps([step("vda", "no", 2.0, 4.0), step("excel", "no", 3.0, 2.0), step("vda", "bf16", 1.0, 3.0)]))
    here = [f"{number} measured" for number in ("3", "6.00", "3.0", "2.00", "1.50", "0.50")]
    assert found["ExCEL, fp32"] == ["4 x 320 px", *here, "0.77 published", "0.71 published"]
    assert found["VDA, bf16"][5:] == ["1.00 measured", "1.00 measured", "1.00 published", "1.00 published"]
    alone = cells(steps([step("text", "bf16", 1.0, 3.0)]))
    assert alone["text only, bf16"][5:] == ["", "", "", ""]


def test_parts_are_of_the_last_stage_and_in_units_of_the_plain_forward():
    split = {
        "stage_seconds": {"segmenter": 1.0, "intra-class": 2.0},
        "part_seconds": {"segmenter": {"clip": 0.1}, "intra-class": {"clip": 1.0}},
    }
    found = parts_of_a_step(
        [step("vda", "no", 2.0, 4.0) | split, step("excel", "no", 3.0, 2.0), step("vda", "bf16", 1.0, 3.0) | split]
    )
    assert cells(found)["frozen CLIP"] == ["1 (2.00)", "1 (2.00)"] and cells(found)["whole step"] == ["2 (4.00)"] * 2
    assert cells(found)["VDA, last stage"] == ["fp32", "bf16"]


def test_aims_of_costs_are_met_or_missed_by_their_ratios():
    vda = step("vda", "no", 1.0, 1.6) | {"stage_seconds": {"segmenter": 0.1, "intra-class": 1.0}}
    found = cells(cost_aims([vda, step("excel", "no", 1.0, 2.0)]))["VDA, fp32"]
    assert found[:2] == ["1.00: met (at most 1.1)", "0.80: met (at most 1.1)"]
    assert found[2:] == ["2.00: missed (at most 1.5)", "1.60: met (at most 1.7)"]
    assert cost_aims([vda]) == ""


def test_published_ratios_are_those_of_the_paper():
    times = {name: round(one.minutes / PUBLISHED["vda"].minutes, 2) for name, one in PUBLISHED.items()}
    memory = {name: round(one.memory / PUBLISHED["vda"].memory, 1) for name, one in PUBLISHED.items()}
    assert times == pytest.approx({"toco": 4.3, "seco": 3.5, "weclip": 2.3, "excel": 0.77, "vda": 1.0}, abs=0.05)
    assert memory == {"toco": 4.0, "seco": 3.9, "weclip": 1.4, "excel": 0.7, "vda": 1.0}


def test_entries_are_of_the_last_version_alone(tmp_path):
    path = tmp_path / "methods.json"
    assert entries_of(path) == []
    path.write_text(json.dumps([run("vda", 0, version="1"), run("vda", 1, version="2"), run("text", 1, version="2")]))
    assert [entry["method"] for entry in entries_of(path)] == ["vda", "text"]


def test_the_discs_area_is_memory_and_nothing_measured_is_said():
    found = measured([run("vda", 0, seconds=60.0), run("vda", 1, seconds=180.0), run("excel", 0, peak_gib=0.5)])
    assert found["vda"].minutes == 2.0 and found["excel"].memory == pytest.approx(0.5 * 2**30 / 1e9)
    _, axes = time_and_quality({"here": found, "there": {}})
    first, second = axes.flat
    areas = [disc.get_sizes()[0] for disc in first.collections]
    assert areas[0] == pytest.approx(2 * areas[1])
    assert np.allclose(first.collections[0].get_offsets()[0], (2.0, 61.0))
    assert "not measured yet" in [text.get_text() for text in second.texts] and not second.collections
