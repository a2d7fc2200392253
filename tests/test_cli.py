"""The command line: everything is checked at once and in a line, wherever the words stand."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from vdalib import __version__
from vdalib.commands import cli, errors
from vdalib.commands.cli import EXPORTS, main
from vdalib.config import Config

ROOT = Path(__file__).parents[1]


def said(words):
    """What the command ends with, one line."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert "\n" not in str(ended.value)
    return str(ended.value)


@pytest.fixture
def run_dir(tmp_path):
    Config.from_preset("partworld-smoke").save(tmp_path / "run" / "config.yaml")
    return tmp_path / "run"


def test_bare_vdalib_prints_help_and_version_its_version(capsys):
    for words, printed in (([], "COMMAND"), (["--version"], f"vdalib {__version__}\n"), (["train", "--help"], "--run-dir")):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0 and printed in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian", "error: unknown command 'trian' (known: run, train, "),
        ("trian", "did you mean 'train'?"),
        ("train --prest voc12", "did you mean '--preset'?"),
        ("train --preset partwolrd", "did you mean 'partworld'?"),
        ("prepare fodler --data D", "did you mean 'folder'?"),
        ("train schedule.batchsize=8", "unknown setting 'schedule.batchsize'; the nearest known one is 'schedule.batch_size'"),
        ("train schedule.batch_size=four", "error: partworld: schedule.batch_size: expected int, got 'four'"),
        ("train schedule.batch_size", "error: override 'schedule.batch_size': expected KEY=VALUE"),
        ("train data.crop=[1", "data.crop"),
        ("prepare --data D", "the following arguments are required: PRESET"),
        ("prepare voc12 coco14", "expected the name of one preset, such as voc12, got voc12 coco14"),
        ("prepare seed=1", "expected the name of one preset, such as voc12, got none"),
        ("train method=tocco", "method: unknown method 'tocco'"),
        ("settings shedule", "no setting begins with 'shedule'; did you mean schedule?"),
        ("settings atributes", "attributes?"),
        ("evaluate --run none", "error: none/config.yaml: missing; none is not the directory of a trained run"),
        ("segment --run none a.png", "error: none/config.yaml: missing"),
        ("submit --run none", "error: none/config.yaml: missing"),
        ("export none --format coco", "error: none/config.yaml: missing"),
        ("export none --format cocoo", "argument --format: invalid choice: 'cocoo'"),
        ("compare none nil", "error: none/config.yaml: missing"),
        ("evaluate", "the following arguments are required: --run (see `vdalib evaluate --help`)"),
        ("sweep none.yaml", "none.yaml"),
        ("run --preset excel", "error: method: 'excel' lacks VDA's three stages, which notebook 02 shows; use `vdalib train`"),
        ("run method=text", "error: method: 'text' lacks VDA's three stages"),
    ],
)
def test_a_typo_is_answered_in_a_line_that_names_it_and_what_was_meant(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in said(words.split())
    assert not list(tmp_path.iterdir())


def test_a_typo_is_answered_without_torch_and_in_half_a_second(tmp_path, run_dir):
    lines = ["trian", "train schedule.batch_size=four", "train --preset partwolrd", f"evaluate --run {run_dir} inference.flipp=1"]
    lines += [
        "segment --run none a.png",
        "settings shedule",
        f"compare {run_dir} none",
        "export none --format yolo",
        "sweep none.yaml",
    ]
    program = f"""
import sys, time
from vdalib.commands.cli import main
for words in {[line.split() for line in lines]}:
    try:
        main(words)
    except SystemExit as ended:
        assert str(ended).startswith("error: "), ended
    else:
        raise AssertionError(words)
assert not {{"torch", "numpy", "matplotlib"}} & sys.modules.keys()
"""
    started = time.process_time(), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - started[1] < 8 * 0.5


@pytest.mark.parametrize(
    "words",
    [
        "prepare folder --data D data.on_bad_image=skip",
        "prepare data.on_bad_image=skip folder --data D",
        "prepare --data D folder data.on_bad_image=skip --no-download",
        "prepare folder data.on_bad_image=skip --data D seed=3",
    ],
)
def test_settings_stand_anywhere_among_the_options(words, tmp_path, monkeypatch):
    prepared = []
    monkeypatch.setattr("vdalib.data.prepare", lambda data, download: prepared.append(data))
    monkeypatch.chdir(tmp_path)
    main(words.split())
    [data] = prepared
    assert (data.name, data.root, data.on_bad_image) == ("folder", str(tmp_path / "D"), "skip")


def test_settings_and_presets_are_listed_with_value_default_meaning_and_source(capsys):
    main(["settings", "schedule.batch", "flow", "schedule.batch_size=6"])
    first, *others = capsys.readouterr().out.splitlines()
    assert first.split() == "flow.steps 6 invertible layers [A]".split()
    assert others[-1].split() == "schedule.batch_size 6 (default 4) images per step, over all processes [N]".split()
    main(["settings", "options", "--preset", "toco"])
    assert all(line.startswith("options.") for line in capsys.readouterr().out.splitlines())
    main(["presets"])
    listed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("voc12 ") and "PASCAL VOC 2012" in line for line in listed)


def test_export_knows_the_formats_that_the_library_has():
    from vdalib.commands.export import KINDS

    assert EXPORTS == KINDS


class Foreign(Exception):
    __module__ = "safetensors_rust"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a.png: wrong"), "error: a.png: wrong"),
        (FileNotFoundError(2, "No such file or directory", "x.png"), "error: [Errno 2] No such file or directory: 'x.png'"),
        (RuntimeError("size mismatch\n\tfor a:\n\tb"), "error: size mismatch for a: b"),
        (Foreign("header too large"), "error: Foreign: header too large"),
        (MemoryError(), "error: MemoryError: "),
        (RuntimeError("x" * 1000), f"error: {'x' * 600}..."),
    ],
)
def test_errors_of_users_files_and_libraries_are_a_line_and_a_traceback_where_it_is_asked_for(error, line, monkeypatch):
    def fail(given):
        raise error

    monkeypatch.setattr(cli, "presets", fail)
    fail.__name__ = "presets"
    assert said(["presets"]) == line
    with pytest.raises(type(error)):
        main(["presets", "--traceback"])


def test_an_error_that_is_ours_keeps_its_traceback(monkeypatch):
    with pytest.raises(KeyError), errors.plain_errors():
        raise KeyError("ours")


def test_control_c_says_what_was_kept_and_exits_with_130(capsys):
    for interrupt, printed in ((KeyboardInterrupt(), "it goes on"), (KeyboardInterrupt("saved in x"), "saved in x")):
        with pytest.raises(SystemExit) as ended, errors.plain_errors(stopped="it goes on"):
            raise interrupt
        assert ended.value.code == 130 and capsys.readouterr().err == f"\nstopped: {printed}\n"
