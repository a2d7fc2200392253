"""The benchmarks of methods: fair settings, paired numbers, runs that are not repeated; one true training and step each."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import small_runs
import torch

import vdalib
from vdalib.config import Config
from vdalib.config.methods import BUILT_IN
from vdalib.data.partworld import CLASSES, PARTS, PartWorld
from vdalib.data.partworld.world import MIN_AREA, MIN_PART_AREA
from vdalib.evaluation.run import Run, whole_images

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

    def fake(function, method, preset, seed, *rest):
        made.append((method, seed))
        if method == "weclip":
            raise KeyboardInterrupt
        measures = {"seconds": 1.0, "peak_gib": 1.0, "seed_miou": 50.0, "miou": 60.0, "miou_ms_crf": 61.0}
        return measures | {"pixels": {name: [1, 2] for name in CLASSES}}

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
    assert "| ExCEL (2) |" in said and "excel: " in said and "clip.attributes is 112 there, 42 here" in said


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
    assert set(numbers) == {"seconds", "peak_gib", "seed_miou", "miou", "miou_ms_crf", "pixels"}
    assert set(numbers["pixels"]) == set(CLASSES) and sum(map(sum, numbers["pixels"].values())) <= 2 * 192**2
    assert 0 < numbers["seconds"] < 60 and 0.1 < numbers["peak_gib"] < 8
    assert all(0 <= numbers[name] <= 100 for name in ("seed_miou", "miou", "miou_ms_crf"))


@pytest.mark.slow
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


def test_where_clip_has_random_weights_other_backbones_have_too(benchmark, monkeypatch):
    step, asked = benchmark("step"), []

    def fake(function, config, *rest):
        if function is step.plain_forward:
            return 1.0
        asked.append(config)
        return step.Cost({"intra-class": 1.0}, {}, 1.0, 1.0, "CPU")

    monkeypatch.setattr(step, "alone", fake)
    entries = list(step.compared(["vda", "toco"], "voc12", {"clip.pretrained": None}, 1, 1))
    assert [(entry["method"], entry["precision"]) for entry in entries] == [
        (m, p) for p in ("no", "bf16") for m in ("vda", "toco")
    ]
    assert {config.backbone.pretrained for config in asked} == {None} and asked[1].backbone.name == "vit_base_patch16_224"
    list(step.compared(["toco"], "voc12", {}, 1, 1))
    assert asked[-1].backbone.pretrained is not None


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
    numbers = {"nmi": nmi, "ari": 0.0, "purity": 0.5, "used": 2.0, "named": 5 * nmi, "null_nmi": 0.01, "p": nmi / 100}
    patches = {
        "INN mixture": numbers,
        "k-means on CLIP": numbers | {"nmi": 0.25},
        "k-means on latents": numbers | {"nmi": 3 * nmi},
    }
    pointing = dict.fromkeys(patches, {"consistency": 0.4, "null_consistency": 0.3})
    inside = dict.fromkeys(patches, {"correlation": 0.1}) | {"INN mixture": {"correlation": 0.9 - nmi}}
    about = {"row": row, "seed": seed, "version": vdalib.__version__, "preset": "partworld", "precision": "no"}
    about |= {"seed_miou": 100 * nmi, "miou": 50 - 10 * nmi}
    return about | {"attributes": {"patches": patches, "pointing": pointing, "inside": inside}}


def test_the_numbers_beside_figure_1_are_means_over_the_seeds_of_its_row(benchmark, tmp_path, monkeypatch):
    attributes = benchmark("attributes")
    for name in ("RESULTS", "FIGURE_1"):
        monkeypatch.setattr(attributes, name, tmp_path / f"{name}.json")
    other = next(name for name in attributes.ROWS if name != attributes.SHOWN)
    runs = [attributes_of(0.9, other, 0), attributes_of(0.1, attributes.SHOWN, 1), attributes_of(0.2, attributes.SHOWN, 0)]
    for known in (runs[:1], [runs[0], *(run | {"preset": "partworld-smoke"} for run in runs)], runs):
        assert not attributes.FIGURE_1.exists()
        attributes.RESULTS.write_text(json.dumps(known))
        attributes.write_figure_1()
    table = attributes.means(runs)
    found = json.loads(attributes.FIGURE_1.read_text())
    assert (found["part_nmi"], found["part_nmi_kmeans"], found["correlation_inside"], found["p"]) == (0.15, 0.25, 0.75, 0.002)
    assert (found["row"], found["seeds"], found["version"]) == (attributes.SHOWN, [0, 1], vdalib.__version__)
    assert found["settings"] == attributes.ROWS[attributes.SHOWN]
    assert f"| {attributes.SHOWN} | 0.150 ± 0.050 (0.010) |" in table and table.count("k-means on CLIP") == 1


def test_aims_of_figure_1_are_judged_by_differences_to_k_means_over_the_same_seeds(benchmark):
    attributes = benchmark("attributes")
    scores = {attributes.SHOWN: (0.10, 0.12, 0.11, 0.11, 0.11), attributes.STAIRS[2]: (0.23, 0.29, 0.26, 0.26, 0.26)}
    table = attributes.aims([attributes_of(nmi, row, seed) for row, own in scores.items() for seed, nmi in enumerate(own)])
    lines = [line for line in table.splitlines() if "NMI" in line]
    assert "0.110 and 0.250, difference -0.140 ± 0.003 | missed |" in lines[0]
    assert "0.260 and 0.250, difference 0.010 ± 0.009 | undecided |" in lines[1]
    assert "| met |" in attributes.aims([attributes_of(0.3 + seed / 100, attributes.SHOWN, seed) for seed in range(5)])
    assert "| undecided |" in attributes.aims([attributes_of(0.3, attributes.SHOWN, 0)]) and attributes.aims([]) == ""


def test_stairs_differ_in_one_thing_each_and_are_paired_by_seed(benchmark):
    attributes = benchmark("attributes")
    for names in zip(attributes.STAIRS, attributes.STAIRS[1:]):
        assert sum(said != said_before for said_before, said in zip(*(name.split(", ") for name in names))) == 1
    scores = {attributes.STAIRS[0]: (0.1, 0.2, 0.1, 0.2, 0.1), attributes.STAIRS[1]: (0.2, 0.3, 0.22, 0.3, 0.2)}
    runs = [attributes_of(nmi, row, seed) for row, own in scores.items() for seed, nmi in enumerate(own)]
    lines = attributes.stairs(runs + [attributes_of(0.9, attributes.STAIRS[3], 0)]).splitlines()[2:]
    gains = ["**+0.104 ± 0.004**", "**+0.312 ± 0.012**", "**+0.520 ± 0.020**", "**-0.104 ± 0.004**"]
    gains += ["**+10.40 ± 0.40**", "**-1.04 ± 0.04**"]
    assert lines == [f"| {attributes.STAIRS[1]} | 5 | {' | '.join(gains)} |"]
    assert attributes.stairs(runs[:5]) == ""


@pytest.mark.slow
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


def test_true_masks_are_cut_like_the_crops_that_they_judge(benchmark):
    from types import SimpleNamespace

    from vdalib.data.sample import Sample

    masks = torch.arange(12).reshape(3, 4).repeat_interleave(20, 0).repeat_interleave(20, 1) % 4  # (60, 80), classes 0..3

    class Flat:
        """Whose pictures are 60 times their masks."""

        def __len__(self):
            return 12

        def __getitem__(self, index):
            return Sample((60 * masks).to(torch.uint8).expand(3, -1, -1), torch.tensor([True] * 3), "")

        def mask(self, index):
            return masks.to(torch.uint8).numpy()

    data = SimpleNamespace(crop=48, scale=(0.5, 2.0))
    config = SimpleNamespace(data=data, seed=0, schedule=SimpleNamespace(total_steps=3, batch_size=4))
    run, flat, crops = SimpleNamespace(config=config), Flat(), benchmark("labels").training_crops
    batches = list(crops(run, flat, flat.mask, 3))
    assert [len(batch.images) for batch in batches] == [8, 4] and {i for b in batches for i in b.indices} == {*range(12)}
    images, truth = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "masks"))
    known = truth != 255
    assert not known.all() and known.flatten(1).any(1).all()
    seen = (255 * images[:, 0] / 60).round().long()
    # resizing blurs edges of pictures, not those of masks
    edges = torch.nn.functional.max_pool2d(truth.float(), 3, 1, 1) != -torch.nn.functional.max_pool2d(-truth.float(), 3, 1, 1)
    assert torch.equal(seen[known & ~edges], truth[known & ~edges])

    def void(index):
        return np.full((60, 80), 255, np.uint8)

    assert all((batch.masks == 255).all() for batch in crops(run, flat, void, 3))


def test_a_class_shows_all_its_parts_some_or_none(benchmark):
    prototypes, world = benchmark("prototypes"), PartWorld("train", 0, 40)
    kinds, names = set(), list(prototypes.SHOWN)
    for batch in whole_images(world):
        cut = torch.stack([torch.from_numpy(world.part_mask(i)) for i in batch.indices])
        cut[:, :, : cut.shape[2] // 2] = 255  # as padding
        batch.masks = cut
        found, cover = prototypes.views(world, batch), prototypes.cover(cut, (1, 1))
        for mask, index, shows, shares in zip(cut.numpy(), batch.indices, found, cover[:, :, 0, 0]):
            for k, name in enumerate(CLASSES):
                area = {part: (mask == n).sum() for n, (of, part) in enumerate(PARTS, 1) if of == name}
                drawn = {p for thing in world.factors(index).objects if thing.class_name == name for p in thing.part_colours}
                lacks = any(area[part] < MIN_PART_AREA for part in drawn)
                expected = "none" if sum(area.values()) < MIN_AREA else "part" if lacks else "whole"
                assert names[shows[k]] == expected
                assert shares[k] == pytest.approx(sum(area.values()) / mask.size)
                kinds.add(expected)
    assert kinds == set(names)


@pytest.mark.slow
@pytest.mark.usefixtures("random_clip")
def test_prototypes_named_rightly_are_counted_under_predicted_and_true_masks(benchmark, tmp_path):
    prototypes = benchmark("prototypes")
    small_runs.run(tmp_path, {"data.train_size": 12})
    found = prototypes.measure(str(tmp_path))
    for place in (prototypes.WHOLE, prototypes.CROPS):
        for views in found[place].values():
            for counts in views.values():
                assert counts["all"] >= counts["won"] >= counts["sure"] >= counts["sure beside background"]
    world = Run.load(tmp_path).dataset("train")
    objects = sum(int(world[i].labels.sum()) for i in range(len(world)))
    assert sum(counts["all"] for counts in found[prototypes.WHOLE]["true"].values()) == objects
    assert "whole images, true masks: all" in prototypes.markdown([found])


def test_a_prototype_is_named_rightly_where_its_own_prompt_wins(benchmark):
    from types import SimpleNamespace

    prototypes, world = benchmark("prototypes"), PartWorld("train", 0, 40)
    text = torch.nn.functional.one_hot(torch.arange(len(CLASSES)), 16).float()
    background = torch.nn.functional.one_hot(torch.tensor([15]), 16).float()
    given = {
        "right": text,
        "wrong": text.roll(1, 0),
        "unsure": text + background,
        "torn": text + text.roll(1, 0) * 0.99,
        "fair": text,
    }
    scales = {"torn": 1.0, "fair": 2.6}  # of ten classes the own one has a probability of 0.6, and 0.57 beside the background
    senses = {"right": (1, 1, 1), "wrong": (0, 0, 0), "unsure": (1, 1, 0), "torn": (1, 0, 0), "fair": (1, 1, 1)}
    (batch, *_) = whole_images(world)
    batch.masks = torch.stack([torch.from_numpy(world.part_mask(i)) for i in batch.indices])
    for name, vectors in given.items():
        every = vectors.expand(len(batch.labels), -1, -1)
        found = SimpleNamespace(prototypes=every, present=batch.labels)
        seen = SimpleNamespace(found=found, features=SimpleNamespace(patches=torch.rand(len(every), 16, 4, 4), grid=(4, 4)))
        run = SimpleNamespace(
            labeller=SimpleNamespace(class_text=text, background_text=background),
            clip=SimpleNamespace(logit_scale=scales.get(name, 100.0)),
            evidence=lambda *_, seen=seen: seen,
        )
        counts = prototypes.counted(run, world, iter([batch]))["predicted"].values()
        total = sum(c["all"] for c in counts)
        assert total == batch.labels.sum()
        assert tuple(sum(c[sense] for c in counts) / total for sense in prototypes.NAMED) == senses[name]


@pytest.mark.slow
@pytest.mark.usefixtures("random_clip")
def test_every_rung_from_cam_to_prediction_is_measured_and_told(benchmark, tmp_path):
    from vdalib.explore.ablation import lost_on_the_way

    labels = benchmark("labels")
    entries = []
    for row in ("text template only", "class mean, no INN", "all"):
        small_runs.run(tmp_path / row, labels.ROWS[row])
        entries.append({"row": row, "seed": 0, **labels.measure(str(tmp_path / row))})
    text, rival, whole_method = entries
    assert sum(whole_method["prototypes"]) > 0 and not {"prototypes"} & (text.keys() | rival.keys())
    assert {rung: text[labels.CROPS]["own"][rung] for rung in text[labels.CROPS]["text"]} == text[labels.CROPS]["text"]
    assert rival[labels.WHOLE]["own"] != rival[labels.WHOLE]["text"]
    told = lost_on_the_way(entries)
    assert told.count("\n\n") == 1 and told.count("\n") == 2 + 2 * (1 + 2 * 5)
    found = rival[labels.CROPS]["own"]["pseudo labels"]
    assert f"| training crops: pseudo labels | {text[labels.CROPS]['own']['pseudo labels']:.1f} | {found:.1f} |" in told
    assert lost_on_the_way(entries[:1]) == ""
    assert lost_on_the_way([rival, text]) == lost_on_the_way([text, rival])


def test_false_pixels_are_counted_by_what_they_lie_on_and_told_beside_text(benchmark):
    from vdalib.explore.ablation import mistakes

    false_pixels = benchmark("mistakes").false_pixels
    truth = np.array([[1, 1, 2, 0], [0, 0, 2, 255]])
    found = false_pixels(np.array([[1, 0, 1, 1], [0, 0, 2, 1]]), truth, 1, "sand")
    assert found == {"true": 2, "right": 1, "on others": 1, "around it": 1}  # void counts nowhere
    assert +false_pixels(np.full((2, 4), 1), np.zeros((2, 4)), 1, "sand") == {"elsewhere, sand": 8}

    def entry(row, seed, **pixels):
        return {"row": row, "seed": seed, "classes": {"boat": {"true": 200, "right": 100} | pixels}}

    runs = [entry("text template only", n, **{"around it": 100}) for n in range(5)]
    runs += [entry("all", n, **{"right": 150 + n, "elsewhere, water": 40, "elsewhere, sky": 10}) for n in range(5)]
    lines = mistakes(runs, "boat", "water").splitlines()[2:]
    assert lines[0] == "| text template only | 50.0 ± 0.0 | 50.0 ± 0.0 | 0.0 ± 0.0 | 50.0 ± 0.0 | 0.0 ± 0.0 | 0.0 ± 0.0 |"
    assert lines[1].startswith("| all | 75.2 ± 0.1 | 76.0 ± 0.4 | 0.0 ± 0.0 | 0.0 ± 0.0 | 20.0 ± 0.0 | 5.0 ± 0.0 |")
    assert "| all minus text template only | **+25.25 ± 0.09** | **+26.00 ± 0.35** | +0.00 ± 0.00 | **-50.00" in lines[2]
