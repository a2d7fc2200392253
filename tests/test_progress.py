"""How far a loop is: whole lines in files, at most one a minute in logs, and a status that others can read."""

import sys

import pytest

from vdalib import progress as module
from vdalib.commands.status import StatusLine
from vdalib.progress import STATUS_FILE, progress_bar


@pytest.fixture
def log(monkeypatch, capsys):
    """What went to stderr so far."""
    monkeypatch.delattr("builtins.__IPYTHON__", raising=False)
    monkeypatch.delenv(STATUS_FILE, raising=False)
    return Log(capsys)


class Log:
    def __init__(self, capsys):
        self.capsys, self.text = capsys, ""

    def getvalue(self):
        self.text += self.capsys.readouterr().err
        return self.text


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module._Lines, "monitor_interval", 0)
    monkeypatch.setattr("tqdm.std.time", made)
    monkeypatch.setattr("vdalib.commands.status.time.monotonic", made)
    return made


def test_a_log_gets_a_line_a_minute_and_whole_ones(log, clock):
    bar = progress_bar(total=600, desc="inter-class", unit="step")
    for step in range(600):
        clock.now += 0.5
        bar.set_postfix({"loss": f"{step / 1000:.3f}"}, refresh=False)
        bar.update()
    bar.close()
    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue()
    assert len(lines) == 6  # one at first, then five minutes
    assert lines[0] == "inter-class: 0/600 steps, ? left"
    assert lines[1] == "inter-class: 120/600 steps, 04:00 left, loss=0.119"
    assert lines[-1] == "inter-class: 600/600 steps, 00:00 left, loss=0.599"


def test_a_bar_over_an_iterable_yields_it_and_a_disabled_one_says_nothing(log):
    assert list(progress_bar(range(3), desc="seeds")) == [0, 1, 2]
    assert log.getvalue().splitlines()[-1].startswith("seeds: 3/3 its")
    seen = log.getvalue()
    assert list(progress_bar(range(3), disable=True)) == [0, 1, 2] and log.getvalue() == seen


def test_a_status_file_is_written_instead_where_one_is_named(log, monkeypatch, tmp_path):
    monkeypatch.setenv(STATUS_FILE, str(tmp_path / "status"))
    bar = progress_bar(total=2, desc="segmenter", unit="step")
    bar.update(2)
    bar.close()
    assert (tmp_path / "status").read_text().splitlines()[-1] == "segmenter: 2/2 steps, 00:00 left"
    assert log.getvalue() == ""


def test_a_status_line_is_rewritten_in_a_terminal(log, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    status = StatusLine("02")
    status("a long text")
    status("short")
    status.clear()
    assert log.getvalue() == "\r02: a long text\r02: short      \r         \r"
    monkeypatch.setenv("COLUMNS", "10")
    status("one that is longer than the terminal is wide")
    assert log.getvalue().endswith("\r02: one t")


def test_a_status_line_in_a_log_comes_once_a_minute(log, clock):
    status = StatusLine("02")
    for second in range(150):
        clock.now += 1
        status(f"step {second}")
    status.clear()
    assert log.getvalue().splitlines() == ["02: step 0", "02: step 60", "02: step 120"]
