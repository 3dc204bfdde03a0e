"""A worker: takes trials from the queue and runs each in a fresh process, until none is left or the time is up.

A fresh process, because a run may end its process: out of memory, a crash of a driver, a kill. Then the trial is
recorded as failed and the sweep goes on; and nothing that one run left behind reaches the next. The processes are
forked from a server that has the libraries imported and has used nothing of them, so one starts in an instant.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from bytegolf.errors import UserError
from bytegolf.processes import interrupted_later
from bytegolf.sweep import locks
from bytegolf.sweep.queue import Claim, Queue, Row, described

PRELOADED = ["bytegolf.on_torch.ahead", "bytegolf.train.fit", "bytegolf.score.packed"]
PATIENCE_SECONDS = 3.0  # for the process of a killed worker to notice it


@dataclass(frozen=True)
class Job:
    """What the process of a trial has to know. cores: how many it may use, 0 = all. options: of the commands."""

    run: Path
    config: Path
    lock_path: Path
    log_path: Path
    cores: int
    options: dict[str, Any]


@dataclass(frozen=True)
class Clock:
    """The seconds that all runs of a sweep may take together; None: as many as they need."""

    total: float | None
    train_seconds: float | None  # of each run, where its budget is one of seconds

    def expected(self, rows: list[Row], row: Row) -> float:
        """Of a run: the mean of those done with its setting, else of all done, else its training budget."""
        done = [other for other in rows if other.state == "done"]
        like = [other for other in done if other.setting == row.setting] or done
        if not like:
            return self.train_seconds or 0.0
        return float(sum(other.facts["seconds"] for other in like) / len(like))

    def spent(self, rows: list[Row]) -> float:
        """What was measured of runs that ended, and what is expected of those under way."""
        ended = sum(row.facts.get("seconds", 0.0) for row in rows)
        return float(ended + sum(self.expected(rows, row) for row in rows if row.state == "running"))

    def allows(self, rows: list[Row], row: Row) -> bool:
        return self.total is None or self.spent(rows) + self.expected(rows, row) <= self.total


@dataclass(frozen=True)
class Ended:
    """interrupted: by Ctrl-C. out_of_time: a trial that waits was not begun for want of time."""

    interrupted: bool = False
    out_of_time: bool = False


@dataclass
class _Active:
    claim: Claim
    process: BaseProcess
    pipe: Connection
    begun: float


Body = Callable[
    [Job], dict[str, Any]
]  # runs a trial and returns its facts; None of "bpb": it was interrupted
Report = Callable[[list[Row], str], None]  # all trials, and what has just happened ("" for nothing to say)


def work(
    queue: Queue,
    body: Body,
    *,
    value: str,
    clock: Clock,
    workers: int,
    options: dict[str, Any],
    report: Report,
) -> Ended:
    """Run what the queue has. body: a function that a fresh process can import. value: the fact to compare."""
    worker = _Worker(queue, body, value, clock, workers, options, report)
    with _stopped_by_sigterm():
        try:
            return worker.run()
        except KeyboardInterrupt:
            worker.stop()
            return Ended(interrupted=True)
        finally:
            worker.kill()


class _Worker:
    def __init__(
        self,
        queue: Queue,
        body: Body,
        value: str,
        clock: Clock,
        workers: int,
        options: dict[str, Any],
        report: Report,
    ) -> None:
        self.queue, self.body, self.value, self.clock = queue, body, value, clock
        self.workers, self.options, self.report = workers, options, report
        self.active: list[_Active] = []
        self.refused = False
        self.context = get_context("forkserver")
        self.context.set_forkserver_preload(PRELOADED)

    def run(self) -> Ended:
        alone_since = time.monotonic()
        while True:
            while len(self.active) < self.workers and (claim := self.queue.claim(self.may_begin)) is not None:
                self.start(claim)
            if self.active:
                for pipe in wait([active.pipe for active in self.active], timeout=1.0):
                    self.finish(next(active for active in self.active if active.pipe is pipe))
                alone_since = time.monotonic()
                continue
            elsewhere = any(row.state == "running" for row in self.queue.rows())
            if self.refused or not elsewhere or time.monotonic() - alone_since > PATIENCE_SECONDS:
                return Ended(out_of_time=self.refused)
            time.sleep(0.1)

    def may_begin(self, rows: list[Row], row: Row) -> bool:
        self.refused = not self.clock.allows(rows, row)
        return not self.refused

    def start(self, claim: Claim) -> None:
        ours, theirs = self.context.Pipe(duplex=False)
        log = claim.config.with_suffix(".log")
        cores = max(1, _cores() // self.workers) if self.workers > 1 else 0
        job = Job(claim.run, claim.config, claim.lock_path, log, cores, self.options)
        with interrupted_later():  # Ctrl-C is ours: a run gets one SIGTERM, and saves
            process = self.context.Process(target=_in_a_process, args=(theirs, self.body, job))
            process.start()
        theirs.close()  # what is left is the run's alone, so that its death ends the pipe
        self.active.append(_Active(claim, process, ours, time.monotonic()))
        row = claim.row
        self.report(self.queue.rows(), f"{row.name}: {described(row.values)}")

    def finish(self, active: _Active) -> None:
        claim, took = active.claim, time.monotonic() - active.begun
        try:
            kind, answer = active.pipe.recv()
        except (EOFError, OSError):
            kind, answer = "died", None
        active.process.join()
        self.active.remove(active)
        if kind == "interrupted":  # by somebody else: it is left as one that lost its worker
            claim.release()
            raise KeyboardInterrupt
        if kind == "done":
            answer["seconds"] = max(took, answer["train_seconds"])  # more, when an earlier process did a part
            self.queue.finish(claim, answer, answer[self.value])
            said = f"{claim.row.name}: {answer[self.value]:.4f} bpb, {took:.0f} s"
        else:
            error = str(answer) if answer is not None else _death(active.process.exitcode)
            self.queue.fail(claim, error, {"seconds": took})
            said = f"{claim.row.name} failed: {error.splitlines()[0]}"
        self.report(self.queue.rows(), said)

    def stop(self) -> None:
        """Runs save and leave; a second Ctrl-C does not wait for it. Their trials stay begun, without a lock."""
        for active in self.active:
            active.process.terminate()
        for active in self.active:
            active.process.join()

    def kill(self) -> None:
        for active in self.active:
            if active.process.is_alive():
                active.process.kill()
            active.process.join()
            active.claim.release()
        self.active = []


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = "; the machine may be short of memory" if -code == signal.SIGKILL else ""
        return f"its process was killed by {name}{hint}"
    return f"its process ended with exit code {code}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM, which batch systems send, stops a sweep like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_a_process(pipe: Connection, body: Body, job: Job) -> None:
    """The life of a trial's process. It ends when its worker does, so that nobody runs the trial beside it."""
    parent = parent_process()
    assert parent is not None
    lock = locks.shared(job.lock_path)
    if (
        lock is None or not parent.is_alive()
    ):  # from here on the trial is locked as long as this process lives
        os._exit(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _speak_into(job.log_path)
    try:
        with _limited_to(job.cores):
            facts = body(job)
        message: tuple[str, Any] = ("done", facts) if facts["bpb"] is not None else ("interrupted", None)
    except UserError as error:
        message = ("failed", str(error))
    except Exception as error:
        import traceback

        traceback.print_exc()
        message = ("failed", f"{type(error).__name__}: {error}; see {job.log_path}")
    pipe.send(message)
    pipe.close()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _speak_into(log: Path) -> None:
    """What this process and its libraries print goes into a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115


@contextmanager
def _limited_to(cores: int) -> Iterator[None]:
    """Several runs at once share the cores; threads for all of them in each would only slow them down."""
    if not cores:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(cores):
        yield
