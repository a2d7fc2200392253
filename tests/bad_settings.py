"""Settings that are none, in files and on the command line."""

from bad_files import to
from bad_folders import LAUGHS


def settings(text):
    return to("my.yaml", text)


NOT_YAML = "my.yaml.*: not valid YAML: "
SETTINGS = {
    "settings": [
        ("a list", settings("- 1"), "my.yaml: expected settings such as .*, found .1."),
        ("false", settings("false"), "my.yaml: expected settings such as .*, found False"),
        ("a word", settings("voc12"), "my.yaml: expected settings such as .*, found 'voc12'"),
        (
            "an open bracket",
            settings("base: voc12\ndata: {root: x\n"),
            "my.yaml line 3: not valid YAML: .*; put text with any of",
        ),
        ("a tabulator", settings("data:\n\troot: x\n"), "my.yaml line 2: not valid YAML: .*; put text with any of"),
        ("a setting twice", settings("seed: 1\nseed: 2\n"), "my.yaml line 2: not valid YAML: 'seed' is there twice"),
        ("a section twice", settings("data: {root: x}\nseed: 1\ndata: {crop: 9}\n"), "my.yaml line 3: .*'data' is there twice"),
        ("a colon in a value", settings("preset: a: b\n"), NOT_YAML),
        ("Python", settings("seed: !!python/object/apply:os.getpid []"), NOT_YAML),
        ("an impossible date", settings("seed: 1\npreset: 2024-13-45\n"), "my.yaml line 2: not valid YAML: '2024-13-45'"),
        ("an impossible time", settings("preset: !!timestamp x"), NOT_YAML),
        ("a number without end", settings("seed: " + "9" * 10_000), NOT_YAML),
        ("a NUL byte", settings("seed: 1\0"), NOT_YAML),
        ("other bytes", settings(b"\xff\xfe\x00"), "my.yaml: not UTF-8 text .*; save it as UTF-8"),
        ("brackets without end", settings("seed: " + "[" * 1500), "my.yaml: not valid YAML: brackets in brackets without end"),
        ("a mapping in itself", settings("data: &a {root: *a}"), "my.yaml: data.root: expected str, got"),
        ("a billion laughs", settings(LAUGHS + "seed: *m\n"), "my.yaml: unknown setting 'a'; the nearest known one is"),
        (
            "laughs in a setting",
            settings("seed: " + "&a [x]\ndata: {workers: *a}\n"),
            "my.yaml: data.workers: expected int, got .'x'.",
        ),
        (
            "an unknown setting",
            settings("schedule: {batchsize: 8}"),
            "my.yaml: unknown setting 'schedule.batchsize'; the nearest",
        ),
        (
            "an unknown section",
            settings("shedule: {}"),
            "my.yaml: unknown setting 'shedule'; the nearest known one is 'schedule'",
        ),
        ("a setting without end", settings("x" * 900 + ": 1"), "my.yaml: unknown setting 'xxx.*; the nearest known one is"),
        ("a number for a setting", settings("1: 2"), "my.yaml: unknown setting '1'; the nearest known one is"),
        ("a section that is a number", settings("schedule: 3"), "my.yaml: schedule: expected a mapping of settings, got 3"),
        ("an empty section", settings("schedule:\n"), "my.yaml: schedule: expected a mapping of settings, got None"),
        ("an unknown base", settings("base: voc21"), "my.yaml: base: unknown preset 'voc21' .known: coco14, .*folder"),
        ("a base that is a list", settings("base: [voc12]"), r"my.yaml: base: unknown preset \['voc12'\] .known: coco14"),
        ("a word for a number", settings("schedule: {batch_size: four}"), "schedule.batch_size: expected int, got 'four'"),
        ("a fraction", settings("schedule: {batch_size: 2.5}"), "my.yaml: schedule.batch_size: expected int, got 2.5"),
        ("yes for a number", settings("schedule: {batch_size: yes}"), "my.yaml: schedule.batch_size: expected int, got True"),
        ("nothing for a number", settings("schedule: {batch_size: }"), "my.yaml: schedule.batch_size: expected int, got None"),
        (
            "a batch of 1e20",
            settings("schedule: {batch_size: 100000000000000000000}"),
            "batch_size: expected at least 1 and at most 65,536",
        ),
        ("no batch", settings("schedule: {batch_size: 0}"), "schedule.batch_size: expected at least 1 and at most 65,536, got 0"),
        ("100,000 workers", settings("data: {workers: 100000}"), "data.workers: expected at least 0 and at most 256, got 100000"),
        ("a seed over 2^63", settings("seed: 9223372036854775808"), "seed: expected at least 0 and at most 4,294,967,295, got"),
        ("a negative seed", settings("seed: -1"), "my.yaml: seed: expected at least 0 and at most 4,294,967,295, got -1"),
        (
            "a width of 1e12",
            settings("segmenter: {width: 1000000000000}"),
            "segmenter.width: expected at least 1 and at most 65,536",
        ),
        ("a crop of 1e6", settings("data: {crop: 1000000}"), "data.crop: expected at least 1 and at most 65,536, got 1000000"),
        (
            "steps without end",
            settings("schedule: {total_steps: 10000000000}"),
            "schedule.total_steps: expected at least 1 and at most",
        ),
        ("a scale of 1e9", settings("data: {scale: [0.5, 1e9]}"), "data.scale: expected at most 16 and above 0, got '1e9'"),
        ("a rate that is not a number", settings("schedule: {learning_rate: .nan}"), "learning_rate: expected float, got nan"),
        ("an infinite rate", settings("schedule: {learning_rate: 1e400}"), "schedule.learning_rate: expected float, got"),
        (
            "a rate beyond all",
            settings("schedule: {learning_rate: 1" + "0" * 400 + "}"),
            "learning_rate: expected float, got 1000",
        ),
        ("no rate", settings("schedule: {learning_rate: 0}"), "schedule.learning_rate: expected above 0, got 0"),
        (
            "a share over 1",
            settings("refine: {ignore_margin: 2}"),
            "refine.ignore_margin: expected at least 0 and at most 1, got 2",
        ),
        (
            "an unknown choice",
            settings("flow: {mixing: shuffle}"),
            "flow.mixing: expected one of none, swap, permute, got 'shuffle'",
        ),
        ("a choice that is a list", settings("flow: {mixing: [swap]}"), r"flow.mixing: expected one of .*, got \['swap'\]"),
        (
            "an unknown data set",
            settings("data: {name: imagenet}"),
            "data.name: expected one of partworld, voc12, coco14, folder",
        ),
        ("a path that is a list", settings("data: {root: [x]}"), r"my.yaml: data.root: expected str, got \['x'\]"),
        ("a path with a NUL byte", settings('data: {root: "a\\0b"}'), "data.root: expected text without control characters, got"),
        ("a prompt of two lines", settings('clip: {templates: ["a {}.\\nb"]}'), "clip.templates: expected text without control"),
        ("a prompt without place", settings("clip: {templates: [a photo]}"), "clip.templates: 'a photo' needs exactly one {}"),
        ("no prompt", settings("clip: {templates: []}"), "clip.templates and clip.background_prompts: expected at least one"),
        ("a synonym as a word", settings("clip: {synonyms: {cat: kitten}}"), "clip.synonyms.cat: expected a list, got 'kitten'"),
        ("a colour beyond all", settings("data: {colours: {cat: '#12c0000'}}"), "data.colours.cat: expected #rrggbb such as"),
        (
            "a colour by name",
            settings("data: {colours: {cat: red}}"),
            "data.colours.cat: expected #rrggbb such as '#3c00d2', got 'red'",
        ),
        ("masks of VOC", settings("base: voc12\ndata: {masks: x}"), "data.masks: data.name 'voc12' has its own; leave it null"),
        (
            "training on masks",
            settings("base: folder\ndata: {train_split: masks}"),
            "train_split: 'masks' is for evaluation only; take",
        ),
        ("heads that do not divide", settings("segmenter: {heads: 7}"), "segmenter.heads: 7 heads do not divide segmenter.width"),
        ("stages longer than all", settings("schedule: {total_steps: 1}"), "schedule.total_steps: 1 is less than the first two"),
        ("a folder", to("my.yaml", ()), "my.yaml: neither a YAML file nor a preset .known: coco14, .*folder"),
        ("no file", to("my.yaml", None), "my.yaml: neither a YAML file nor a preset .known: coco14, .*folder"),
    ],
}
OVERRIDES = [
    ("schedule.batch_size", "expected KEY=VALUE, for example schedule.batch_size=8"),
    ("=8", "expected KEY=VALUE, for example"),
    ("data.scale=[1", "data.scale: not valid YAML: .*; put text with"),
    ("data.root=a: b", "data.root: expected str, got {'a': 'b'}"),
    ("data.root=@x", "data.root: not valid YAML: .*; put text with"),
    ("seed=2024-13-45", "seed: not valid YAML: '2024-13-45'"),
    ("seed=" + "9" * 10_000, "seed: not valid YAML: '999.*; put text with"),
    ("seed=" + "[" * 1500, "seed: not valid YAML: brackets in brackets without end; put text with"),
    ("data..root=x", "unknown setting 'data.'; the nearest known one is"),
    ("schedule.batch_size.x=3", "schedule.batch_size: expected int, got {'x': 3}"),
    ("schedule=fast", "schedule: expected a mapping of settings, got 'fast'"),
]
