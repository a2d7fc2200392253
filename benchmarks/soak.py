"""Kills, damages and resumes what the workbook does at random moments, and compares it with runs that never stopped.

    python benchmarks/soak.py --minutes 10 [--kills 300] [--seed 1] [--jobs train voc] [--out benchmarks/soak.json]

A life of a job, such as a training, begins in a folder as it is given. Its command is started, killed and started again until it
ends by itself; then every file must be that of a run that never stopped, bit for bit but for the clock, and there must be no
others.

Kills are of four kinds: before one of the changes that the command makes to files (`operation`), half-way in a file that has its
temporary name (`torn`), after some time, a child of the command at times in its place (`time`), and in a bare interpreter, from
its first moment on (`start-up`); the others are forks of this process, which has imported everything already.

Needs Linux. Ctrl+C ends it with what it has. Status 1 where anything differs; what the lives left is kept then.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import soak_data

RESULTS = Path(__file__).with_suffix(".json")
MOST_KILLS = 8  # of one life
PATIENCE = 300  # s after which an attempt hangs, or processes that it left do not end
SIGNALS = [signal.SIGKILL] * 6 + [signal.SIGTERM] * 2 + [signal.SIGINT] * 2
STOPPED = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 130)  # what a process of ours ends with, that was killed
HOW = ["operation"] * 5 + ["torn"] * 2 + ["time"] * 4 + ["start-up"]
TINY = (
    "data.train_size=8 data.crop=48 segmenter.width=16 segmenter.depth=1 segmenter.heads=2 flow.steps=2 mixture.attributes=2 "
    "mixture.batch_size=2 mixture.replay=1 assembly.reliable_filter=false refine.par_iterations=1 schedule.batch_size=2 "
    "schedule.segmenter_steps=3 schedule.inter_steps=3 schedule.total_steps=9 schedule.checkpoint_every=2 schedule.lr_warmup=0 "
    "schedule.learning_rate=0.01 schedule.background_weight=0"  # so that there are prototypes from the first steps on
).split()
JOBS = {  # what is typed; all that it makes comes to lie in `out`
    "train": ["train", "--preset", "partworld-smoke", "--run-dir", "out", *TINY],
    "train seco": ["train", "--preset", "seco-smoke", "--run-dir", "out", *TINY],
    "folder": ["prepare", "folder", "--data", "folder", "--labels", "out"],
    "voc": ["prepare", "voc12", "--root", "out"],
    "coco": ["prepare", "coco14", "--root", "out", "--no-download"],
    "segment": ["segment", "--run", "reference/train", "--out", "out", "folder", "--probabilities"],
    "sweep": ["sweep", "grid.yaml"],
}
SHARES = {"train": 6, "train seco": 2, "folder": 2, "voc": 3, "coco": 3, "segment": 4, "sweep": 2}
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"}  # audit events


@dataclass(frozen=True)
class Kill:
    """What an attempt is to die of: how, by which signal, and before which operation or after how many seconds.

    child: a child of the command is killed, if it has one.
    """

    how: str
    signal: signal.Signals
    at: float
    child: bool = False

    def __str__(self) -> str:
        return f"{self.signal.name}{' to a child' * self.child} {self.how} {round(self.at, 3):g}"


@dataclass
class Tally:
    """What a soak has found so far."""

    seed: int
    hours: float = 0
    lives: Counter = field(default_factory=Counter)
    kills: dict[str, Counter] = field(default_factory=dict)  # job -> how -> number
    signals: Counter = field(default_factory=Counter)
    damaged: int = 0  # checkpoints
    differences: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        return sum(self.signals.values())

    @property
    def clean(self) -> bool:
        return not self.differences and not self.left_over

    def __str__(self) -> str:
        lines = [f"{job}: {self.lives[job]} lives, kills {dict(kills)}" for job, kills in self.kills.items()]
        lines += [f"difference: {text}" for text in self.differences] + [f"left over: {text}" for text in self.left_over]
        found = f"{len(self.differences)} differences, {len(self.left_over)} left over"
        told = f"{self.killed} kills {dict(self.signals)}, {self.damaged} checkpoints damaged"
        return "\n".join([*lines, f"seed {self.seed}: {told}, {found}, {self.hours:.2f} h"])


class Soak:
    """Lives of jobs in the current folder, which `soak_data.write` has filled; jobs: their names."""

    def __init__(self, seed: int, jobs: Iterable[str] = JOBS) -> None:
        self.dice, self.tally, self.jobs = random.Random(seed), Tally(seed), list(jobs)
        self.operations: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    def never_stopped(self) -> None:
        """Each job once without a kill, kept in `reference`, and once in a bare interpreter, which takes how long?"""
        for job in dict.fromkeys(["train"] * ("segment" in self.jobs) + self.jobs):
            soak_data.begin(job)
            self.seconds[job] = self._whole(job)
            self.operations[job] = int(Path("operations").read_text())
            shutil.copytree("out", Path("reference") / job)
        soak_data.begin(job)
        self.seconds["start-up"] = self._whole(job, bare=True)
        self._compare(job, "in a bare interpreter")

    def live(self, most: int = MOST_KILLS) -> None:
        """One life of a job, of which up to `most` kills are tried."""
        job = self.dice.choices(self.jobs, [SHARES[name] for name in self.jobs])[0]
        history, status = [], None
        soak_data.begin(job)
        for _ in range(self.dice.randint(1, most)):
            kill = self._chosen(job)
            status, hit = self._attempt(job, kill)
            if not hit:
                break
            history.append(str(kill))
            self.tally.kills.setdefault(job, Counter())[kill.how] += 1
            self.tally.signals[kill.signal.name] += 1
            if job.startswith("train") and self.dice.random() < 0.3 and (what := soak_data.damage(Path("out"), self.dice)):
                history.append(what)
                self.tally.damaged += 1
        else:
            status, _ = self._attempt(job, None)
        self.tally.lives[job] += 1
        self._compare(job, ", ".join(history), status)

    def _chosen(self, job: str) -> Kill:
        how, sent = self.dice.choice(HOW), self.dice.choice(SIGNALS)
        if how in ("operation", "torn"):
            sent = signal.SIGKILL if how == "torn" else sent
            return Kill(how, sent, self.dice.randint(1, self.operations[job]))
        seconds = self.seconds["start-up" if how == "start-up" else job]
        return Kill(how, sent, self.dice.uniform(0, seconds), self.dice.random() < 0.3)

    def _whole(self, job: str, bare: bool = False) -> float:
        """Seconds of a run without a kill."""
        started = time.monotonic()
        process = start(JOBS[job], bare=bare)
        if status := wait(process, started + PATIENCE):
            raise RuntimeError(f"{job}: ended with status {status} without a kill: {Path('log').read_text()}")
        return time.monotonic() - started

    def _attempt(self, job: str, kill: Kill | None) -> tuple[int | None, bool]:
        """Status of one start of a job (None where it hung), and whether it died of its kill."""
        timed = kill is not None and kill.how in ("time", "start-up")
        process = start(JOBS[job], None if timed else kill, bare=timed and kill.how == "start-up")
        victim = process
        if timed and (status := wait(process, time.monotonic() + kill.at)) is not None:
            return status, False
        if timed:
            victim = self.dice.choice(soak_data.children(process) or [process]) if kill.child else process
            with suppress(ProcessLookupError):
                os.kill(victim, kill.signal)
        status = wait(process, time.monotonic() + PATIENCE)
        if status is None:
            os.kill(process, signal.SIGKILL)
            wait(process, time.monotonic() + PATIENCE)
        return status, kill is not None and (status in STOPPED or (victim != process and status not in (0, None)))

    def _compare(self, job: str, history: str, status: int | None = 0) -> None:
        """Waits for what the killed left running, then tells what `out` has otherwise than the reference."""
        alive = soak_data.outlived(PATIENCE / 10)
        differences, left_over = soak_data.compared(Path("out"), Path("reference") / job)
        told = [f"{job} ({history}): {text}" for text in differences]
        if status != 0:
            said = " ".join(Path("log").read_text(errors="replace").split())[-1000:]
            told.append(f"{job} ({history}): {'hung' if status is None else f'status {status}'}: {said}")
        self.tally.differences += told
        self.tally.left_over += [f"{job} ({history}): {name}" for name in [*left_over, *alive]]
        if (told or left_over) and Path("out").exists():
            shutil.copytree("out", Path("kept") / str(self.tally.lives.total()), dirs_exist_ok=True)


def start(words: Sequence[str], kill: Kill | None = None, bare: bool = False) -> int:
    """A process of `vdalib` with these words, its output in `log`; in a bare interpreter, or a fork that dies as planned."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # else it could reach the fork before it is one of ours
    process = os.fork()
    if process:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return process
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        log = os.open("log", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if bare:
            code = f"import sys; sys.path.insert(0, {str(RESULTS.parent)!r}); import soak_data; soak_data.command({[*words]!r})"
            os.execv(sys.executable, [sys.executable, "-c", code])
        with counted_changes(kill):
            soak_data.command(words, threads=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        print(end.code)
    except KeyboardInterrupt:  # typed before the command could see it
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


@contextmanager
def counted_changes(kill: Kill | None) -> Iterator[None]:
    """Counts this process's changes to files, into the file `operations`; dies before one of them if so planned."""
    count, done = 0, False

    def hook(event: str, values: tuple) -> None:
        nonlocal count
        writes = event in CHANGES and (event != "open" or (isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR)))
        if done or not writes or os.fsencode(values[0] if not isinstance(values[0], int) else "").startswith(b"/dev"):
            return
        count += 1
        if kill is None or count < kill.at:
            return
        if kill.how == "torn":
            if event != "os.rename" or not os.path.isfile(values[0]):
                return
            os.truncate(values[0], os.path.getsize(values[0]) // 2)
        elif count > kill.at:
            return
        os.kill(os.getpid(), kill.signal)

    sys.addaudithook(hook)
    yield
    done = True
    Path("operations").write_text(str(count))


def wait(process: int, until: float) -> int | None:
    """Status of a process of `start`, as `subprocess` has it; None where it is still running then."""
    try:
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > until:
                return None
            time.sleep(0.002)
    except KeyboardInterrupt:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        raise


def soak(seed: int, minutes: float = 0, kills: int = 0, jobs: Sequence[str] = tuple(JOBS)) -> Tally:
    """Lives of jobs for as long as `minutes` and until there were `kills`; Ctrl+C ends it, too.

    In a temporary folder, which is kept where anything differs.
    """
    soak_data.import_all()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    before, started = os.getcwd(), time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="soak-")).resolve()
    os.chdir(work)
    lives = Soak(seed, jobs)
    try:
        soak_data.write()
        lives.never_stopped()
        while time.monotonic() < started + 60 * minutes or lives.tally.killed < kills:
            lives.live()
            found = f"{lives.tally.killed} kills, {len(lives.tally.differences)} differences"
            print(f"\r{found}", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
    finally:
        soak_data.outlived(0)
        os.chdir(before)
    lives.tally.hours = round((time.monotonic() - started) / 3600, 3)
    if lives.tally.clean:
        shutil.rmtree(work)
    else:
        print(f"kept: {work}", file=sys.stderr)
    return lives.tally


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--kills", type=int, default=0, help="go on until there were so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=[*JOBS])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    out = given.out.resolve()
    found = soak(given.seed, given.minutes, given.kills, given.jobs)
    from methods import code_version

    from vdalib.io import write_json

    entries = json.loads(out.read_text()) if out.exists() else []
    write_json(out, [*entries, {"version": code_version(), "minutes": given.minutes, "killed": found.killed, **vars(found)}])
    print(found)
    raise SystemExit(not found.clean)


if __name__ == "__main__":
    main()
