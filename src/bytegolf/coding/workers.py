"""Coders at work side by side: one in this process, or one in each of several worker processes.

A worker builds its coder once, from a recipe that can be pickled, and gets a share of the blocks at a time. It
ends when its pipe does, so it does not outlive a parent that was killed: it notices when it next reports.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal, Protocol

from threadpoolctl import threadpool_limits

from bytegolf.coding.block import BlockCoder, Coded, Report, Text, even
from bytegolf.errors import UserError
from bytegolf.processes import interrupted_later, portable

_REPORT_SECONDS = 0.1
_PATIENCE_SECONDS = 5.0

Job = Literal["encode", "decode"]


class WorkerError(UserError):
    """A worker process, or its memory, came to an end."""


class StreamCoder(BlockCoder, Protocol):
    """A block coder that says which one it is: files of coders with different identities do not mix."""

    @property
    def identity(self) -> bytes: ...


class Recipe(Protocol):
    """How to build a coder, in any process. model: sha256 of the .golf file; context, stride: how it is read."""

    @property
    def model(self) -> bytes: ...
    @property
    def context(self) -> int: ...
    @property
    def stride(self) -> int: ...
    def build(self) -> StreamCoder: ...


class Crew(Protocol):
    """Coders that share out blocks. Results are in the order of the blocks; `report` gets tokens done since."""

    @property
    def identity(self) -> bytes: ...
    def encode(self, texts: Sequence[Text], report: Report) -> list[Coded | None]: ...
    def decode(self, blocks: Sequence[Coded], report: Report) -> list[bytes | None]: ...


@contextlib.contextmanager
def crew(recipe: Recipe, workers: int) -> Iterator[Crew]:
    """`workers` coders: in this process when it is one, else in as many processes, gone when the context is left.

    Matrix libraries get one thread in each. Raises what building a coder raises, and WorkerError for a worker
    process that died. Cost: a process takes the start of Python and the building of a coder.
    """
    if workers == 1:
        coder = _build(recipe)
        with threadpool_limits(1):
            yield _Alone(coder)
        return
    hands = _Hands(recipe, workers)
    try:
        hands.start()
        yield hands
    except BaseException:
        hands.stop(at_once=True)
        raise
    hands.stop()


def spread(sizes: Sequence[int], shares: int) -> list[list[int]]:
    """0..len(sizes)-1 in at most `shares` lists that are not empty and whose lengths differ by one at most.

    What is large comes together, and into the shorter lists first: blocks go through a model side by side, so a
    share takes as long as its largest block, and a step the longer the more blocks there are.
    """
    largest_first = iter(sorted(range(len(sizes)), key=lambda i: -sizes[i]))
    counts = sorted(even(len(sizes), min(len(sizes), shares)))
    return [sorted(islice(largest_first, count)) for count in counts]


def out_of_memory() -> WorkerError:
    return WorkerError(
        "coding needs more memory than there is", fix="take fewer --lanes or --threads, or smaller blocks"
    )


def _build(recipe: Recipe) -> StreamCoder:
    try:
        return recipe.build()
    except MemoryError as error:
        raise out_of_memory() from error


def _do(coder: StreamCoder, job: Job, blocks: Sequence[Any], report: Report) -> list[Any]:
    """The job, with the one error that a coder cannot help."""
    try:
        results: list[Any] = list(getattr(coder, job)(blocks, report))
    except MemoryError as error:
        raise out_of_memory() from error
    if len(results) != len(blocks):
        raise RuntimeError(f"a coder gave {len(results)} results for {len(blocks)} blocks")
    return results


class _Alone:
    """The crew of one."""

    def __init__(self, coder: StreamCoder) -> None:
        self._coder = coder
        self.identity = coder.identity

    def encode(self, texts: Sequence[Text], report: Report) -> list[Coded | None]:
        return _do(self._coder, "encode", texts, report)

    def decode(self, blocks: Sequence[Coded], report: Report) -> list[bytes | None]:
        return _do(self._coder, "decode", blocks, report)


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    pipe: Connection

    def send(self, message: object) -> None:
        try:
            self.pipe.send(message)
        except OSError:  # not to be mistaken for a reader of our output who left
            raise self.died() from None

    def receive(self) -> tuple[str, Any]:
        """The next message. Raises what the worker raised, and WorkerError when it is gone."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            raise self.died() from None
        if kind == "failed":
            raise value
        return kind, value

    def died(self) -> WorkerError:
        self.process.join(_PATIENCE_SECONDS)
        code = self.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return WorkerError(
            "a worker process died",
            got=how,
            fix="the machine may be short of memory: take fewer --threads or --lanes",
        )


class _Hands:
    """The crew of several."""

    def __init__(self, recipe: Recipe, workers: int) -> None:
        self._recipe, self._count = recipe, workers
        self._workers: list[_Worker] = []
        self.identity = b""

    def start(self) -> None:
        """Every worker with its coder built."""
        context = get_context("spawn")
        with interrupted_later():
            for _ in range(self._count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs,), daemon=True)
                process.start()
                theirs.close()  # what is left is the worker's alone, so that its death ends the pipe
                self._workers.append(_Worker(process, ours))
        for worker in self._workers:
            worker.send(self._recipe)
        identities = {worker.receive()[1] for worker in self._workers}
        if len(identities) != 1:
            raise RuntimeError(f"coders of one recipe have {len(identities)} identities")
        (self.identity,) = identities

    def encode(self, texts: Sequence[Text], report: Report) -> list[Coded | None]:
        return self._share("encode", texts, [len(text.data) for text in texts], report)

    def decode(self, blocks: Sequence[Coded], report: Report) -> list[bytes | None]:
        return self._share("decode", blocks, [block.tokens for block in blocks], report)

    def _share(self, job: Job, blocks: Sequence[Any], sizes: list[int], report: Report) -> list[Any]:
        busy: dict[Connection, tuple[list[int], _Worker]] = {}
        for worker, share in zip(self._workers, spread(sizes, self._count), strict=False):
            worker.send((job, [blocks[i] for i in share]))
            busy[worker.pipe] = (share, worker)
        results: list[Any] = [None] * len(blocks)
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                share, worker = busy[pipe]
                kind, value = worker.receive()
                if kind == "tokens":
                    report(value)
                    continue
                for i, result in zip(share, value, strict=True):
                    results[i] = result
                del busy[pipe]
        return results

    def stop(self, at_once: bool = False) -> None:
        """Without `at_once`, workers have nothing to do and leave by themselves."""
        for worker in self._workers:
            worker.pipe.close()
            if at_once:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_PATIENCE_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _work(pipe: Connection) -> None:
    """A worker's life: a recipe, then jobs until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        try:
            coder = _build(pipe.recv())
            threadpool_limits(1)  # after the coder: only libraries that are loaded can be held to it
            pipe.send(("ready", coder.identity))
            while True:
                job, blocks = pipe.recv()
                pipe.send(("done", _do(coder, job, blocks, _throttled(pipe))))
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            pipe.send(("failed", portable(error)))


def _throttled(pipe: Connection) -> Report:
    """Sums tokens up and sends them now and then. A parent that is gone ends the process here."""
    waiting, due = 0, time.monotonic() + _REPORT_SECONDS

    def report(tokens: int) -> None:
        nonlocal waiting, due
        waiting += tokens
        if time.monotonic() < due:
            return
        try:
            pipe.send(("tokens", waiting))
        except OSError:
            os._exit(1)  # nobody wants the result
        waiting, due = 0, time.monotonic() + _REPORT_SECONDS

    return report
