"""The benchmarks of methods: fair settings, paired numbers, runs that are not repeated; one true training and step each."""

import json
import os
from pathlib import Path

import pytest

import vdalib
from vdalib.config import Config
from vdalib.config.methods import BUILT_IN

STEPS = {"segmenter_steps": 0, "inter_steps": 0, "total_steps": 3}


@pytest.fixture
def benchmark(monkeypatch):
    """The modules of the folder `benchmarks`, by name."""
    import importlib

    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module


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


@pytest.fixture
def trained(benchmark, monkeypatch):
    """Trainings that take no time, as (method, seed); `version` is that of the code."""
    methods, made = benchmark("methods"), []

    def fake(function, method, preset, seed, precision, threads):
        made.append((method, seed))
        if method == "weclip":
            raise KeyboardInterrupt
        return {"seconds": 1.0, "peak_gib": 1.0, "seed_miou": 50.0, "miou": 60.0, "miou_ms_crf": 61.0}

    monkeypatch.setattr(methods, "alone", fake)
    monkeypatch.setattr(methods, "code_version", lambda: "1 abc")
    return made


def test_only_what_is_missing_is_trained_and_every_run_is_kept_at_once(benchmark, trained, tmp_path, capsys):
    methods, path = benchmark("methods"), tmp_path / "results.json"
    arguments = ["--seeds", "3", "4", "--results", str(path), "--methods", "vda", "excel"]
    with pytest.raises(KeyboardInterrupt):
        methods.main([*arguments, "weclip"])
    assert trained == [("vda", 3), ("excel", 3), ("weclip", 3)] and len(json.loads(path.read_text())) == 2
    trained.clear()
    methods.main(arguments)
    assert trained == [("vda", 4), ("excel", 4)]  # a seed's methods in turn
    found = json.loads(path.read_text())
    fields = {"method", "seed", "preset", "seconds", "peak_gib", "seed_miou", "miou", "miou_ms_crf", "version"}
    assert len(found) == 4 and all(fields <= run.keys() for run in found)
    said = capsys.readouterr().out
    assert "| ExCEL (2) |" in said and "excel: " in said and "clip.attributes is 112 there, found 42" in said


def test_runs_of_another_version_are_kept_but_made_again_and_not_averaged(benchmark, trained, tmp_path, capsys, monkeypatch):
    methods, path = benchmark("methods"), tmp_path / "results.json"
    arguments = ["--seeds", "0", "--results", str(path), "--methods", "vda"]
    methods.main(arguments)
    monkeypatch.setattr(methods, "code_version", lambda: "1 def")
    methods.main(arguments)
    assert trained == [("vda", 0)] * 2
    assert [run["version"] for run in json.loads(path.read_text())] == ["1 abc", "1 def"]
    said = capsys.readouterr().out
    assert "| VDA (1) |" in said and "VDA (2)" not in said and "left out: 1 runs of another version" in said


def test_a_long_run_stops_where_the_code_changes_under_it(benchmark, trained, tmp_path, monkeypatch):
    methods, versions = benchmark("methods"), iter(["1 abc", "1 abc", "1 abc+"])
    monkeypatch.setattr(methods, "code_version", lambda: next(versions))
    with pytest.raises(SystemExit, match=r"the code is 1 abc\+ and was 1 abc; start again, in a checkout that nobody changes"):
        methods.main(["--seeds", "0", "1", "--results", str(tmp_path / "results.json"), "--methods", "vda"])
    assert trained == [("vda", 0)]


def test_the_version_is_the_packages_and_the_last_commit_that_numbers_depend_on(benchmark):
    found = benchmark("methods").code_version()
    assert found.split()[0] == vdalib.__version__ and len(found.split()) <= 2


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


def test_noise_stands_in_for_pictures(benchmark):
    from vdalib.data.loader import training_batches
    from vdalib.data.voc import VOC_CLASSES

    pictures = benchmark("step").Noise(VOC_CLASSES)
    batch = next(iter(training_batches(pictures, Config.from_preset("voc12", {"data.workers": 0}))))
    assert batch["images"].shape == (4, 3, 320, 320) and batch["images"].std() > 0.1
    assert [int(pictures[i].labels.sum()) for i in range(4)] == [1, 2, 1, 2]
