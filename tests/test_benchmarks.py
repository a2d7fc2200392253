"""The benchmarks of methods: fair settings, paired numbers, runs that are not repeated; one true training and step each."""

import json
import os
from pathlib import Path

import pytest
import small_runs

from vdalib.config import Config
from vdalib.config.methods import BUILT_IN

STEPS = {"segmenter_steps": 0, "inter_steps": 0, "total_steps": 3}


@pytest.fixture
def benchmark(monkeypatch):
    """The modules of the folder `benchmarks`, by name."""
    import importlib

    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module


def entry(method, seed, **numbers):
    about = {"method": method, "seed": seed, "preset": "partworld", "precision": "bf16", "version": "1"}
    return about | {"seconds": 10.0, "peak_gib": 1.0, "seed_miou": 50.0, "miou": 60.0, "miou_ms_crf": 61.0} | numbers


@pytest.mark.parametrize("preset", ["partworld", "partworld-smoke"])
def test_methods_on_the_small_world_differ_in_nothing_that_all_should_share(benchmark, preset):
    methods = benchmark("methods")
    configs = [methods.config_of(name, preset) for name in BUILT_IN]
    assert [config.method for config in configs] == list(BUILT_IN)
    if preset == "partworld":
        methods.require_fair(configs)
    with pytest.raises(ValueError, match="excel-smoke: schedule.batch_size: found 3, expected 4 as in weclip-smoke"):
        pair = ("weclip", {}), ("excel", {"schedule.batch_size": 3})
        methods.require_fair([methods.config_of(name, "partworld-smoke", changes) for name, changes in pair])


def test_differences_and_ratios_are_paired_by_seed(benchmark):
    runs = [
        entry("vda", 0, miou_ms_crf=60.0, seconds=10.0),
        entry("vda", 1, miou_ms_crf=70.0, seconds=20.0),
        entry("excel", 1, miou_ms_crf=68.0, seconds=10.0),
        entry("excel", 0, miou_ms_crf=62.0, seconds=10.0, peak_gib=2.0),
        entry("weclip", 7, miou_ms_crf=50.0),  # no seed in common
    ]
    lines = benchmark("methods").markdown(runs).splitlines()
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:]}
    # 62 - 60 and 68 - 70; 10/10 and 10/20; 2/1 and 1/1
    assert cells["excel (2)"] == ["50.0 ± 0.0", "60.0 ± 0.0", "65.0 ± 3.0", "0.0 ± 2.0", "10.0 ± 0.0", "0.75", "1.50"]
    assert cells["vda (2)"][2:] == ["65.0 ± 5.0", "", "15.0 ± 5.0", "1.00", "1.00"]
    assert cells["weclip (1)"][3:] == ["", "10.0", "", ""]


def test_only_what_is_missing_is_trained_and_every_run_is_kept_at_once(benchmark, tmp_path, monkeypatch, capsys):
    methods, path, made = benchmark("methods"), tmp_path / "results.json", []

    def fake(function, method, preset, seed, precision, threads):
        made.append((method, seed))
        if method == "weclip":
            raise KeyboardInterrupt
        return {"seconds": 1.0, "peak_gib": 1.0, "seed_miou": 50.0, "miou": 60.0, "miou_ms_crf": 61.0}

    monkeypatch.setattr(methods, "alone", fake)
    arguments = ["--seeds", "3", "4", "--results", str(path), "--methods", "vda", "excel"]
    with pytest.raises(KeyboardInterrupt):
        methods.main([*arguments, "weclip"])
    assert made == [("vda", 3), ("excel", 3), ("weclip", 3)] and len(json.loads(path.read_text())) == 2
    made.clear()
    methods.main(arguments)
    assert made == [("vda", 4), ("excel", 4)]  # a seed's methods in turn
    found = json.loads(path.read_text())
    fields = {"method", "seed", "preset", "seconds", "peak_gib", "seed_miou", "miou", "miou_ms_crf", "version"}
    assert len(found) == 4 and all(fields <= run.keys() for run in found)
    said = capsys.readouterr().out
    assert "| excel (2) |" in said and "excel: " in said and "clip.attributes is 112 there, found 42" in said


def test_a_process_of_its_own(benchmark):
    assert benchmark("methods").alone(os.getpid) != os.getpid()


@pytest.mark.usefixtures("random_clip")
def test_a_training_is_timed_and_measured(benchmark, tmp_path):
    preset = tmp_path / "tiny.yaml"
    small = {"crop": 48, "train_size": 4, "val_size": 2}
    preset.write_text(json.dumps({"base": "partworld-smoke", "data": small, "schedule": STEPS}))
    numbers = benchmark("methods").train_and_measure("text", str(preset), 0, "no", 1)
    assert set(numbers) == {"seconds", "peak_gib", "seed_miou", "miou", "miou_ms_crf"}
    assert 0 < numbers["seconds"] < 60 and 0.1 < numbers["peak_gib"] < 8
    assert all(0 <= numbers[name] <= 100 for name in ("seed_miou", "miou", "miou_ms_crf"))


@pytest.mark.usefixtures("random_clip")
def test_a_step_of_every_stage_is_timed_and_a_schedule_takes_all_its_steps(benchmark):
    step = benchmark("step")
    quick = {"refine.par_iterations": 1, "data.crop": 48, "assembly.reliable_filter": False}
    cost = step.training_step(Config.from_preset("partworld-smoke", quick), 1, 1, parts=True)
    lengths = {"segmenter": 12, "inter-class": 8, "intra-class": 12}
    assert cost.stages.keys() == cost.parts.keys() == lengths.keys()
    assert cost.hours == pytest.approx(sum(cost.stages[name] * steps for name, steps in lengths.items()) / 3600)
    assert cost.parts["inter-class"]["inn and assembly"] > 0 and cost.parts["segmenter"]["segmenter backward"] > 0
    late = step.training_step(Config.from_preset("weclip-smoke", quick | {"schedule.adapter_joins": 1.0}), 1, 1)
    assert list(late.stages) == ["attention"]  # a stage without steps costs nothing
    assert step.plain_forward(Config.from_preset("partworld-smoke"), 1, 1) > 0


def test_the_comparisons_ratios_are_those_of_one_precision(benchmark):
    def cost(method, precision, hours, peak):
        about = {"method": method, "precision": precision, "crop": 320, "batch_size": 4, "steps": 3600}
        return about | {"plain_seconds": 0.5, "hours": hours, "peak_gib": peak}

    entries = [cost("vda", "no", 2.0, 4.0), cost("excel", "no", 3.0, 2.0), cost("vda", "bf16", 1.0, 3.0)]
    lines = benchmark("step").markdown(entries).splitlines()
    assert lines[3] == "| excel, fp32 | 4 x 320 px | 3.00 | 6.00 | 3.0 | 2.00 | 1.50 | 0.50 | 0.77 | 0.71 |"
    assert "| 1.00 | 1.00 | 1.0 | 1.0 |" in lines[4]


def test_noise_stands_in_for_pictures(benchmark):
    from vdalib.data.loader import training_batches
    from vdalib.data.voc import VOC_CLASSES

    pictures = benchmark("step").Noise(VOC_CLASSES)
    batch = next(iter(training_batches(pictures, Config.from_preset("voc12", {"data.workers": 0}))))
    assert batch["images"].shape == (4, 3, 320, 320) and batch["images"].std() > 0.1
    assert [int(pictures[i].labels.sum()) for i in range(4)] == [1, 2, 1, 2]


FACTORS = ("data.crop", "data.scale", "mixture.patch_attributes"), ("mixture.start",), ("flow.steps",)


def test_rows_of_attributes_differ_in_what_their_names_differ_in_and_in_nothing_else(benchmark):
    rows = benchmark("attributes").ROWS
    configs = {name: Config.from_preset("partworld", changes) for name, changes in rows.items()}
    assert len(rows) == 18 == len({str(config) for config in configs.values()})
    for name, changes in rows.items():
        assert set(changes) == {key for keys in FACTORS for key in keys}
        for other, others in rows.items():
            for said, said_there, keys in zip(name.split(", "), other.split(", "), FACTORS):
                assert (said == said_there) == all(changes[key] == others[key] for key in keys)


def attributes_of(nmi, row, seed):
    numbers = {"nmi": nmi, "ari": 0.0, "purity": 0.5, "used": 2.0, "named": 1.0, "null_nmi": 0.01, "p": nmi / 100}
    patches = {"INN mixture": numbers, "k-means on CLIP": numbers | {"nmi": 0.25}}
    pointing = dict.fromkeys(patches, {"consistency": 0.4, "null_consistency": 0.3})
    inside = {"INN mixture": {"correlation": 0.8 + nmi}, "k-means on CLIP": {"correlation": 0.1}}
    about = {"row": row, "seed": seed, "version": "1", "preset": "partworld", "precision": "no"}
    return about | {"attributes": {"patches": patches, "pointing": pointing, "inside": inside}}


def test_the_numbers_beside_figure_1_are_means_over_the_seeds_of_its_row(benchmark, tmp_path, monkeypatch):
    attributes = benchmark("attributes")
    monkeypatch.setattr(attributes, "FIGURE_1", tmp_path / "figure_1.json")
    other = next(name for name in attributes.ROWS if name != attributes.SHOWN)
    assert attributes.kept([attributes_of(0.9, other, 0)]) and not attributes.FIGURE_1.exists()
    shown = attributes_of(0.1, attributes.SHOWN, 1), attributes_of(0.2, attributes.SHOWN, 0)
    table = attributes.kept([attributes_of(0.9, other, 0), *shown])
    found = json.loads(attributes.FIGURE_1.read_text())
    assert (found["part_nmi"], found["part_nmi_kmeans"], found["correlation_inside"], found["p"]) == (0.15, 0.25, 0.95, 0.002)
    assert (found["row"], found["seeds"], found["version"]) == (attributes.SHOWN, [0, 1], "1")
    assert found["settings"] == attributes.ROWS[attributes.SHOWN]
    assert f"| {attributes.SHOWN} | 0.150 ± 0.050 (0.010) |" in table and table.count("k-means on CLIP") == 1


@pytest.mark.usefixtures("random_clip")
def test_attributes_of_a_training_are_measured_and_kept_without_their_classes(benchmark, tmp_path, monkeypatch):
    attributes = benchmark("attributes")
    monkeypatch.setattr(attributes, "VAL_IMAGES", 20)
    monkeypatch.setattr(attributes, "PERMUTATIONS", 3)
    small_runs.run(tmp_path, {"data.train_size": 40, "mixture.attributes": 2})
    found = attributes.measure(str(tmp_path))
    assert found["miou"] >= 0 and "classes" not in json.dumps(found)
    assert set(found["attributes"]) == {"instances", "patches", "pointing", "inside"}
    entry = attributes_of(0.1, attributes.SHOWN, 0) | {"attributes": found["attributes"]}
    assert attributes.headline([entry])["part_nmi"] == found["attributes"]["patches"]["INN mixture"]["nmi"]
