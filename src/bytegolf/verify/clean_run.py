"""A subject alone in its own process: the referee's half of the clean room (the other: clean_room_child.py).

A child starts in an empty folder with an empty environment. The kernel cuts its network where the system allows
(`unshare -rn`), and an audit hook (guard.py says what it cannot see) refuses and notes every file beside Python,
the installed packages and the submission, every process and every connection. A streaming predictor gets a symbol
only after its distribution for it has come back through the pipe, so nothing in the child ever holds text that it
has not predicted; what scores a whole text gets all of it, and other checks look for what it does with that.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bytegolf.errors import ConfigError
from bytegolf.score.predictor import Floats
from bytegolf.verify.check import Case
from bytegolf.verify.foreign import module_files
from bytegolf.verify.subject import Ids
from bytegolf.verify.wire import Wire

LIMIT = 600.0  # seconds after which a child is stopped

_ROOT = str(Path(__file__).parents[2])
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from bytegolf.verify import clean_room_child as c; c.main()"
)


@dataclass
class CleanRun:
    """What came of one child. nats (targets,) with nan where nothing was written; times: None from a stream.

    error: why it did not finish, or None. opened: class of file -> paths; violations: [kind, what].
    Seconds since the child was started: idle (Python is there), ready (the subject is built), scored (the last
    target has its cost); imports: how many of them installed packages took to load from `idle` on.
    """

    targets: int
    kernel: bool
    nats: Floats | None = None
    times: NDArray[np.int64] | None = None
    error: str | None = None
    claim: Mapping[str, Any] = field(default_factory=dict)
    opened: Mapping[str, Sequence[str]] = field(default_factory=dict)
    violations: Sequence[Sequence[str]] = ()
    idle: float = 0.0
    ready: float = 0.0
    scored: float = 0.0
    imports: float = 0.0

    @property
    def isolation(self) -> str:
        return "no network in the kernel, audit hook" if self.kernel else "audit hook only"


def shipped_files(case: Case) -> list[Path]:
    """The files of the submission, each once: those declared, folders with all they hold, and the module's own.

    Raises ConfigError for one that is not there.
    """
    rebuild = case.in_clean_room or {}
    files = [Path(file) for file in case.files]
    if rebuild.get("kind") == "artifact":
        files.append(Path(rebuild["path"]))
    elif rebuild.get("kind") == "predictor":
        files += module_files(rebuild["spec"], rebuild["path"])
    found: dict[Path, None] = {}
    for file in files:
        if not file.exists():
            raise ConfigError(
                "a file of the submission must exist", got=f"no {file}", where="the declared files"
            )
        inside = sorted(path for path in file.rglob("*") if path.is_file()) if file.is_dir() else [file]
        found |= {path.resolve(): None for path in inside}
    return list(found)


_last: list[tuple[weakref.ref[Case], CleanRun]] = []


def clean_run(case: Case) -> CleanRun:
    """The child run of this case: made once, since three checks look at it."""
    if not (_last and _last[0][0]() is case):
        _last[:] = [(weakref.ref(case), run_in_clean_room(case))]
    return _last[0][1]


def run_in_clean_room(case: Case, limit: float = LIMIT) -> CleanRun:
    """Build the subject in a child and score the case's sample there. It is stopped after `limit` seconds.

    Raises ConfigError when a declared file is missing. Cost: the start of Python, about 0.4 s (with torch 3 s),
    and the score; a streamed symbol passes through two pipes, about 30 us.
    """
    assert case.in_clean_room is not None
    tokens = case.tokens
    run = CleanRun(targets=len(tokens) - 1, kernel=_unshare() is not None)
    request = _request(case)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        began = time.monotonic()
        with _child(folder, said, limit, request["threads"]) as (process, wire, stopped):
            try:
                wire.send(request)
                _score(run, wire, tokens, began)
            except EOFError:
                run.error = f"stopped after {limit:g} s" if stopped.is_set() else _last_words(process, said)
    return run


def _score(run: CleanRun, wire: Wire, tokens: Ids, began: float) -> None:
    """The referee's turns; see clean_room_child.py for their order."""
    wire.receive()
    run.idle = time.monotonic() - began
    answer = wire.receive()
    run.ready = time.monotonic() - began
    if "error" not in answer:
        if answer["streaming"]:
            answer = _stream(run, wire, tokens, began)
        else:
            wire.send(tokens)
            answer = wire.receive()
            if not isinstance(answer, dict):
                run.nats = answer
                run.times = wire.receive()
                run.scored = time.monotonic() - began
                answer = wire.receive()
    run.error, run.claim = answer["error"], answer["claim"]
    run.opened, run.violations = answer["opened"], answer["violations"]
    run.imports = answer["imports"]


def _stream(run: CleanRun, wire: Wire, tokens: Ids, began: float) -> dict[str, Any]:
    """Ask for a distribution, note the cost of what came, tell it; the closing message."""
    nats = np.full(run.targets, np.nan)
    wire.send(tokens[:1])
    for target, symbol in enumerate(tokens[1:].tolist()):
        p = wire.receive()
        if isinstance(p, dict):
            return p
        run.scored = time.monotonic() - began
        if symbol < len(p):  # else it has no probability, and stays without a number
            with np.errstate(divide="ignore", invalid="ignore"):
                nats[target] = -np.log(p[symbol])
        wire.send(tokens[target + 1 : target + 2] if target + 1 < run.targets else tokens[:0])
    run.nats = nats
    closing: dict[str, Any] = wire.receive()
    return closing


@contextmanager
def _child(
    folder: str, said: BinaryIO, limit: float, threads: int | None
) -> Iterator[tuple[subprocess.Popen[bytes], Wire, threading.Event]]:
    """A child in `folder`. However the block is left, an interrupt included, the child is gone and waited for."""
    # OpenBLAS and OpenMP read how many threads to start from here, and nothing else does.
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    command = [*(_unshare() or ()), sys.executable, "-I", "-B", "-c", _START, _ROOT]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment | {"PATH": os.defpath, "TMPDIR": folder},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        start_new_session=True,  # Ctrl-C goes to the referee alone, which then stops the child
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        _kill(process)

    timer = threading.Timer(limit, stop)
    timer.daemon = True
    timer.start()
    try:
        yield process, Wire(process.stdout, process.stdin), stopped  # type: ignore[arg-type]
    finally:
        timer.cancel()
        _kill(process)
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _last_words(process: subprocess.Popen[bytes], said: BinaryIO) -> str:
    """Why the child is gone: how it ended and the last line it wrote."""
    try:
        code: object = process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        code = "none: it sent what is no message"
    said.seek(max(0, said.seek(0, os.SEEK_END) - 2000))
    lines = said.read().decode(errors="replace").strip().splitlines()
    return f"the process ended with code {code}" + (f": {lines[-1]}" if lines else "")


@functools.cache
def _unshare() -> tuple[str, ...] | None:
    """The command that gives a child a network namespace with nothing in it; None where the system refuses."""
    program = shutil.which("unshare", path=os.defpath)
    if program is None:
        return None
    command = (program, "-rn")
    try:
        done = subprocess.run(
            [*command, sys.executable, "-I", "-S", "-c", ""], capture_output=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return command if done.returncode == 0 else None


def _request(case: Case) -> dict[str, Any]:
    """What the child needs: how to build the subject, and what it may read."""
    rebuild = dict(case.in_clean_room or {})
    files = shipped_files(case)
    torch = sys.modules.get("torch")
    if rebuild["kind"] == "artifact":
        rebuild = (
            {"score": {}, "device": "auto", "backend": "torch"}
            | rebuild
            | {"path": str(Path(rebuild["path"]).absolute())}
        )
    return {
        "threads": int(torch.get_num_threads()) if torch is not None else None,
        **rebuild,
        "files": [str(file) for file in files],
        "folders": rebuild["path"] if rebuild["kind"] == "predictor" else [],
    }
