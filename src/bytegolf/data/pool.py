"""Worker processes that read chunks: each takes the next task when it has done its last one.

A worker ends when its pipe does, so it does not outlive a parent that was killed by more than a task.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, cast

from bytegolf.errors import UserError
from bytegolf.processes import interrupted_later, portable

_PATIENCE_SECONDS = 5.0


class WorkerError(UserError):
    """A worker process came to an end."""


class Stage(Protocol):
    """What to do with every task, in any process. It can be pickled, and so can tasks and results."""

    def begin(self) -> Callable[[Any], Any]:
        """Load what all tasks need; the function that does one."""


class Pool:
    """`workers` processes, started when they are first needed; one worker is this process."""

    def __init__(self, workers: int) -> None:
        self._count = workers
        self._workers: dict[Connection, BaseProcess] = {}

    def run(self, stage: Stage, tasks: Iterable[Any]) -> Iterator[Any]:
        """Results as they come, in any order. Raises what a task raises, and WorkerError for a dead process."""
        if self._count == 1:
            do = stage.begin()
            yield from map(do, tasks)
            return
        if not self._workers:
            self._start()
        waiting = iter(tasks)
        busy = []
        for pipe, task in zip(self._workers, waiting, strict=False):
            self._send(pipe, ("begin", stage))
            self._send(pipe, ("task", task))
            busy.append(pipe)
        while busy:
            for pipe in cast(list[Connection], wait(busy)):
                result = self._receive(pipe)
                try:
                    self._send(pipe, ("task", next(waiting)))
                except StopIteration:
                    busy.remove(pipe)
                yield result

    def close(self, at_once: bool = False) -> None:
        """Without `at_once`, workers have nothing to do and leave by themselves."""
        for pipe, process in self._workers.items():
            pipe.close()
            if at_once:
                process.terminate()
        for process in self._workers.values():
            process.join(_PATIENCE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        self._workers = {}

    def _start(self) -> None:
        context = get_context("spawn")
        with interrupted_later():
            for _ in range(self._count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs,), daemon=True)
                process.start()
                theirs.close()  # what is left is the worker's alone, so that its death ends the pipe
                self._workers[ours] = process

    def _send(self, pipe: Connection, message: object) -> None:
        try:
            pipe.send(message)
        except OSError:
            raise self._died(pipe) from None

    def _receive(self, pipe: Connection) -> Any:
        try:
            kind, value = pipe.recv()
        except (EOFError, OSError):
            raise self._died(pipe) from None
        if kind == "failed":
            raise value
        return value

    def _died(self, pipe: Connection) -> WorkerError:
        process = self._workers[pipe]
        process.join(_PATIENCE_SECONDS)
        code = process.exitcode
        return WorkerError(
            "a worker process died",
            got=f"signal {-code}" if code is not None and code < 0 else f"exit code {code}",
            fix="the machine may be short of memory: take fewer --workers; the same command goes on from here",
        )


@contextlib.contextmanager
def pool(workers: int) -> Iterator[Pool]:
    """A pool whose processes are gone when the context is left."""
    hands = Pool(workers)
    try:
        yield hands
    except BaseException:
        hands.close(at_once=True)
        raise
    hands.close()


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _work(pipe: Connection) -> None:
    """A worker's life: stages and their tasks, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    do: Callable[[Any], Any] = print
    with contextlib.suppress(EOFError, OSError):
        while True:
            kind, value = pipe.recv()
            try:
                if kind == "begin":
                    do = value.begin()
                    continue
                message = ("done", do(value))
            except Exception as error:
                message = ("failed", portable(error))
                do = _nothing
            pipe.send(message)


def _nothing(task: object) -> None:
    """What is done with tasks behind one that failed: the parent is about to end it all."""
