import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from vdalib.config import ClipConfig, Config, ScheduleConfig, SegmenterConfig, parse_overrides, preset_names
from vdalib.config.sources import preset_paths, resolved


def test_the_presets_are_there_and_survive_dict_and_yaml(tmp_path):
    assert {"partworld", "partworld-smoke", "voc12", "coco14", "folder"} <= {*preset_names()}
    for name in preset_names():
        config = Config.from_preset(name)
        assert config.preset == name
        assert Config.from_dict(config.to_dict()) == config
        config.save(tmp_path / "config.yaml")
        assert Config.from_preset(tmp_path / "config.yaml") == config


def test_voc_and_coco_presets_state_the_papers_schedule():
    voc, coco = Config.from_preset("voc12"), Config.from_preset("coco14")
    assert (voc.schedule.segmenter_steps, voc.schedule.inter_steps, voc.schedule.total_steps) == (
        8000,
        2000,
        30_000,
    )
    assert (coco.schedule.segmenter_steps, coco.schedule.inter_steps) == (20_000, 8000)
    assert coco.schedule.total_steps == 100_000
    assert (voc.schedule.batch_size, coco.schedule.batch_size) == (4, 8)
    assert (voc.refine.affinity_threshold, coco.refine.affinity_threshold) == (0.79, 0.88)
    assert (voc.schedule.adapter_joins, coco.schedule.adapter_joins) == (14_000 / 30_000, 30_000 / 100_000)
    assert (voc.schedule.lr_warmup, coco.schedule.lr_warmup) == (50, 200)
    assert voc.data.crop == coco.data.crop == 320
    assert (voc.clip.model, voc.clip.pretrained) == ("ViT-B-16-quickgelu", "openai")
    assert len(voc.clip.background_prompts) == 25


def test_overrides_win_over_the_preset_and_are_typed():
    config = Config.from_preset("voc12", {"schedule.batch_size": 8, "schedule.learning_rate": "1e-3", "seed": 3})
    assert config.schedule == replace(Config.from_preset("voc12").schedule, batch_size=8, learning_rate=1e-3)
    assert config.seed == 3
    scale = Config.from_preset("voc12", {"data.scale": [1, 2]}).data.scale
    assert scale == (1.0, 2.0) and all(isinstance(value, float) for value in scale)


def test_settings_per_class_are_checked_and_survive_yaml(tmp_path):
    config = Config.from_preset("folder", {"clip.synonyms": {"cat": ["kitten", "puss"]}, "data.colours": {"St. B": "#ff0000"}})
    assert config.clip.synonyms == {"cat": ("kitten", "puss")}
    assert config.clip.words(["cat", "sea_lion"]) == [("cat", "kitten", "puss"), ("sea lion",)]
    config.save(tmp_path / "config.yaml")
    assert Config.from_preset(tmp_path / "config.yaml") == config
    with pytest.raises(ValueError, match="clip.synonyms.cat: expected a list, got 'kitten'"):
        Config.from_preset("folder", {"clip.synonyms": {"cat": "kitten"}})
    with pytest.raises(ValueError, match="data.colours: expected a mapping, got 3"):
        Config.from_preset("folder", {"data.colours": 3})
    with pytest.raises(ValueError, match="data.colours: expected str, got 7"):
        Config.from_preset("folder", {"data.colours": {7: "#ff0000"}})


def test_prompt_words_stand_in_place_of_the_name_and_synonyms_beside_it(tmp_path):
    clip = ClipConfig(prompt_words={"bird": "bird avian", "tv_monitor": "tvmonitor screen"}, synonyms={"bird": ("fowl",)})
    assert clip.words(["bird", "tv_monitor", "sea_lion"]) == [("bird avian", "fowl"), ("tvmonitor screen",), ("sea lion",)]
    config = Config.from_preset("voc12", {"clip.prompt_words": {"person": "person with clothes,people,human"}})
    config.save(tmp_path / "config.yaml")
    assert Config.from_preset(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("setting", ["prompt_words", "synonyms"])
def test_words_of_an_unknown_class_are_refused_with_the_nearest(setting):
    value = {"prompt_words": {"brid": "bird avian"}, "synonyms": {"brid": ("fowl",)}}[setting]
    with pytest.raises(ValueError, match=f"clip.{setting}: unknown class 'brid'; the nearest: bird"):
        ClipConfig(**{setting: value}).words(["bird", "dog"])


def test_command_line_words_become_overrides():
    words = ["schedule.batch_size=8", "clip.pretrained=null", "clip.calibration=none", "precision=no"]
    overrides = parse_overrides(words)
    assert overrides["schedule.batch_size"] == 8 and overrides["clip.pretrained"] is None
    config = Config.from_preset("voc12", overrides)
    assert (config.clip.calibration, config.precision) == ("none", "no")
    with pytest.raises(ValueError, match="expected KEY=VALUE"):
        parse_overrides(["schedule.batch_size"])


def test_paths_hold_from_another_folder_and_tags_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").touch()
    (tmp_path / "openai").mkdir()  # a folder of that name is no file of weights
    given = {
        "data.root": "voc",
        "clip.sentences": "mine.csv",
        "clip.pretrained": "openai",
        "backbone.pretrained": "fb_in1k",
        "seed": 1,
    }
    paths = {"data.root": str(tmp_path / "voc"), "clip.sentences": str(tmp_path / "mine.csv")}
    assert resolved(given) == given | paths


def test_relative_paths_of_a_file_hold_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("base: voc12\ndata: {root: voc}\nclip: {sentences: builtin}\n")
    assert preset_paths("mine.yaml") == {"data.root": str(tmp_path / "voc")}
    assert preset_paths("voc12") == {}
    Path("broken.yaml").write_text("data: 3\n")
    assert preset_paths("broken.yaml") == {}


def test_an_empty_mapping_empties_what_a_preset_has(tmp_path):
    assert Config.from_preset("weclip-voc12").clip.prompt_words
    assert not Config.from_preset("weclip-voc12", {"clip.prompt_words": {}}).clip.prompt_words
    assert Config.from_preset("weclip-voc12", {"clip": {}, "schedule": {}}) == Config.from_preset("weclip-voc12")


def test_a_file_may_start_from_a_preset(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: voc12\nschedule: {batch_size: 16}\n")
    config = Config.from_preset(path)
    assert config.preset == "mine"
    assert config.schedule.batch_size == 16 and config.data.name == "voc12"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"schedule.batchsize": 8},
            "unknown setting 'schedule.batchsize'; the nearest known one is 'schedule.batch_size'",
        ),
        ({"shedule": {}}, "unknown setting 'shedule'; the nearest known one is 'schedule'"),
        (
            {"method": "seco", "options.as_published": True, "options.background_attracts": False},
            "options.background_attracts: false is ours, options.as_published is not",
        ),
        ({"schedule": 3}, "schedule: expected a mapping of settings, got 3"),
        ({"schedule.batch_size": "four"}, "schedule.batch_size: expected int, got 'four'"),
        ({"schedule.batch_size": True}, "schedule.batch_size: expected int, got True"),
        ({"schedule.batch_size": 2.0}, "schedule.batch_size: expected int, got 2.0"),
        ({"schedule.batch_size": 0}, "schedule.batch_size: expected at least 1 and at most 65,536, got 0"),
        ({"schedule.learning_rate": "fast"}, "schedule.learning_rate: expected float, got 'fast'"),
        ({"schedule.learning_rate": float("nan")}, "schedule.learning_rate: expected float, got nan"),
        ({"schedule.learning_rate": 0}, "schedule.learning_rate: expected above 0, got 0"),
        (
            {"assembly.static_density": 1.5},
            "assembly.static_density: expected at least 0 and at most 1, got 1.5",
        ),
        ({"assembly.fusion": "yes"}, "assembly.fusion: expected bool, got 'yes'"),
        ({"flow.mixing": "shuffle"}, "flow.mixing: expected one of none, swap, permute, got 'shuffle'"),
        ({"data.scale": [0.5]}, r"data.scale: expected 2 values, got \[0.5\]"),
        ({"data.scale": [2, 1]}, "data.scale: .* the smaller factor first"),
        (
            {"data.train_size": 5, "data.name": "voc12"},
            "data.train_size: data.name 'voc12' has no size to choose",
        ),
        ({"data.size": 448}, "data.size: images of data.name 'partworld' are taken as they are; leave it null"),
        ({"inference.scales": []}, "inference.scales: expected at least one scale"),
        ({"inference.scales": 1.0}, "inference.scales: expected a list, got 1.0"),
        ({"segmenter.heads": 7}, "segmenter.heads: 7 heads do not divide segmenter.width"),
        ({"schedule.total_steps": 50}, r"schedule.total_steps: 50 is less than .* = 100\)"),
        ({"clip.templates": ["a photo"]}, "clip.templates: 'a photo' needs exactly one {}"),
        ({"clip.sentence_template": "{name_prompt}"}, "clip.sentence_template: found '{name_prompt}', expected {sentence} once"),
        ({"clip.sentence_template": "{sentence} {kind}"}, "clip.sentence_template: found .* expected {sentence} once"),
        ({"clip.attribute_share": 0}, "clip.attribute_share: expected at most 1 and above 0"),
        ({"clip.templates": []}, "clip.templates and clip.background_prompts: expected at least one"),
        ({"inference.square": True}, "inference.square: give the side as inference.size, for example 448"),
        ({"backbone.pretrained": "fb_in1k"}, "backbone.pretrained: with backbone.name 'clip' clip.pretrained says which"),
        ({"method": "toco", "options.low": 0.8}, r"options.low: found 0.8, expected at most options.high \(0.7\)"),
        ({"method": "seco", "options.blur": [2, 1]}, r"options.blur: found \[2.0, 1.0\], expected the smaller deviation first"),
        ({"method": "seco", "options.cam_scales": []}, "options.cam_scales: expected at least one scale"),
    ],
)
def test_wrong_settings_are_refused_by_their_full_name(overrides, message):
    with pytest.raises(ValueError, match="^partworld: " + message):
        Config.from_preset("partworld", overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schedule: {batch_sizes: 3}", "unknown setting 'schedule.batch_sizes'"),
        ("base: voc21", "base: unknown preset 'voc21'"),
        ("- 1", "expected settings such as"),
        ("a: [1", "not valid YAML"),
    ],
)
def test_wrong_files_are_refused_by_their_path(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: {message}"):
        Config.from_preset(path)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match="neither a YAML file nor a preset .*folder, partworld, partworld-smoke, .*voc12"):
        Config.from_preset("voc21")


def test_sections_are_checked_when_made_directly_and_cannot_change_later():
    with pytest.raises(ValueError, match="segmenter.heads"):
        SegmenterConfig(width=10, heads=3)
    with pytest.raises(ValueError, match="clip.calibration: expected one of static, learnable, value, none"):
        ClipConfig(calibration="dynamic")
    with pytest.raises(AttributeError):
        ScheduleConfig().batch_size = 3


def test_an_interrupted_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    Config(seed=1).save(path)
    monkeypatch.setattr(yaml, "safe_dump", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        Config(seed=2).save(path)
    assert Config.from_preset(path).seed == 1
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]
