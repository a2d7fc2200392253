"""The soak of benchmarks/soak.py kills, finds nothing in a sound library, and does not overlook what is broken."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the soak needs Linux")
BREAK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import soak

def noticed(job):
    for seed in range(9):
        tally = soak.soak(seed, kills=4, jobs=[job])
        if not tally.clean:
            return tally

from vdalib import io
from vdalib.training import checkpoints

found = {"sound": soak.soak(1, kills=4, jobs=["train"])}
sound = checkpoints.load_optimizer
checkpoints.load_optimizer = lambda optimizer, tensors: None
found["optimiser forgotten"] = noticed("train")
checkpoints.load_optimizer = sound
io._remove_left_over = lambda folder, process: None
found["left over"] = noticed("folder")
print(json.dumps({name: [tally.killed, tally.differences, tally.left_over] for name, tally in found.items()}))
"""


@pytest.fixture
def soak_data(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import soak_data

    return soak_data


@pytest.mark.slow
def test_it_finds_nothing_in_a_sound_library_and_notices_a_broken_one(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", BREAK, ROOT / "benchmarks"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    killed, differences, left_over = found["sound"]
    assert killed >= 4 and not differences and not left_over
    _, differences, left_over = found["optimiser forgotten"]
    assert any("segmenter.safetensors differs" in text and "SIG" in text for text in differences)
    _, differences, left_over = found["left over"]
    assert not differences and any(".partial" in text for text in left_over)
    assert len([*tmp_path.glob("soak-*/kept/*")]) >= 2  # to look at


def test_one_bit_a_missing_file_and_one_too_many_are_told_and_the_clock_is_not(soak_data, tmp_path):
    for name, second in (("one", 1.5), ("other", 2.5)):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "weights").write_bytes(bytes(9))
        (tmp_path / name / "gone").touch()
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps({"step": 0, "time": second}) + "\n")
    one, other = tmp_path / "one", tmp_path / "other"
    assert soak_data.compared(one, other) == ([], [])
    (one / "weights").write_bytes(bytes(8) + b"\1")
    (one / "gone").unlink()
    (one / "checkpoints" / "step_0000002.partial").mkdir()
    assert soak_data.compared(one, other) == (["gone is missing", "weights differs"], ["checkpoints/step_0000002.partial"])
    (one / "metrics.jsonl").write_text(json.dumps({"step": 1, "time": 1.5}) + "\n")
    assert "metrics.jsonl differs" in soak_data.compared(one, other)[0]


@pytest.mark.slow
def test_control_c_ends_it_with_what_it_has(tmp_path):
    out = tmp_path / "soak.json"
    out.write_text('[{"seed": 1}]')
    command = [
        sys.executable,
        ROOT / "benchmarks" / "soak.py",
        "--minutes",
        "60",
        "--seed",
        "4",
        "--jobs",
        "folder",
        "--out",
        out,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        said = b""
        while b"2 kills" not in said and (character := process.stderr.read(1)):
            said += character
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and b"Traceback" not in errors, (said + errors).decode()
    first, entry = json.loads(out.read_text())
    assert first == {"seed": 1} and entry["seed"] == 4 and entry["killed"] >= 2 and entry["version"] and entry["hours"] > 0
    assert b"0 differences, 0 left over" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["soak.json"]
