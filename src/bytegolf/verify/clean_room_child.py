"""The process in the clean room: builds the subject under a guard and scores what the referee sends.

The order of messages, each side's turn:

    referee  {kind, spec or path, .., files, folders}
    child    {} when Python and numpy are loaded: the start-up that nobody is charged for
    child    {streaming, end} once the subject is built
    referee  int64 tokens, all of them; for a streaming predictor only the first, which is given
    child    streaming: float64 probabilities; the referee then sends the one symbol that came, and so on; an empty
             message instead ends the text. Otherwise: float64 nats, int64 times
    child    {error, claim, opened, violations, imports}, instead of any other message when something went wrong
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bytegolf.verify.foreign import error_line, load_predictor
from bytegolf.verify.guard import Guard
from bytegolf.verify.subject import ForeignSubject, Subject
from bytegolf.verify.wire import Wire


class ImportClock:
    """Seconds that installed packages took to load: start-up, and not the work of the submission that needs them.

    What the submission's own modules do when they are imported is work.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.seconds = 0.0
        self._folders = [Path(folder) for folder in folders]
        self._within = False
        self._import = builtins.__import__

    def install(self) -> None:
        builtins.__import__ = self

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        importer = str((globals or {}).get("__package__") or "")
        if self._within or self._is_own((importer if level else name).partition(".")[0]):
            return self._import(name, globals, locals, fromlist, level)
        self._within, began = True, time.perf_counter()
        try:
            return self._import(name, globals, locals, fromlist, level)
        finally:
            self._within = False
            self.seconds += time.perf_counter() - began

    def _is_own(self, top: str) -> bool:
        return any((folder / top).is_dir() or (folder / f"{top}.py").is_file() for folder in self._folders)


def main() -> None:
    wire = _take_over_pipes()
    request = wire.receive()
    guard = Guard(Path.cwd(), request["files"], request["folders"])
    guard.install()
    clock = ImportClock(request["folders"])
    clock.install()
    wire.send({})
    closing: dict[str, Any] = {"error": None, "claim": {}}
    try:
        closing["claim"] = _serve(wire, request)
    except EOFError:
        os._exit(1)
    except BaseException as error:  # whatever it is, SystemExit too: the referee has to be told
        line = error_line(error, [Path(file) for file in request["files"]])
        closing["error"] = f"{type(error).__name__}: {error}" + (f" ({line})" if line else "")
    opened = {kind: list(paths) for kind, paths in guard.opened.items()}
    wire.send(closing | {"opened": opened, "violations": guard.violations, "imports": clock.seconds})
    os._exit(0)  # threads and exit handlers of the subject have nothing more to say


def _take_over_pipes() -> Wire:
    """The wire on the first two descriptors, in whose place the subject finds nothing and standard error."""
    wire = Wire(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return wire


def _build(request: Mapping[str, Any]) -> tuple[Subject, list[Any]]:
    """The subject, and a list that takes the predictors it makes."""
    if request["kind"] == "artifact":
        opener = importlib.import_module("bytegolf.verify.packed").open_subject
        subject: Subject = opener(
            Path(request["path"]), request["score"], request["device"], request["backend"]
        )
        return subject, []
    made: list[Any] = []
    factory = load_predictor(request["spec"], request["path"])

    def noted() -> Any:
        made.append(factory())
        return made[-1]

    return ForeignSubject(noted, request["spec"]), made


def _serve(wire: Wire, request: Mapping[str, Any]) -> dict[str, Any]:
    """Builds, scores, and gives what the subject claims, by the predictor that ran where it can speak."""
    subject, made = _build(request)
    streaming = bool(getattr(subject, "streaming", False) and made)
    wire.send({"streaming": streaming, "end": subject.end})
    tokens = wire.receive()
    if streaming:
        assert isinstance(subject, ForeignSubject)
        predictor = subject.factory()
        _stream(wire, predictor, subject.end)
    else:
        run = subject.run(tokens)
        wire.send(run.nats)
        wire.send(run.times)
    if made and hasattr(made[-1], "claim"):
        return _plain(made[-1].claim())
    return _plain(subject.claim())


def _stream(wire: Wire, predictor: Any, end: int) -> None:
    """The turns of subject.py's streaming run, the referee holding the text."""
    document = 0
    predictor.begin(document)
    while True:
        wire.send(np.array(predictor.probabilities(), np.float64))
        answer = wire.receive()
        if not len(answer):
            return
        symbol = int(answer[0])
        predictor.observe(symbol)
        if symbol == end:
            document += 1
            predictor.begin(document)


def _plain(claim: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can carry of a claim: texts and numbers."""
    texts = {key: value for key, value in claim.items() if isinstance(value, str)}
    return texts | {
        key: float(value) for key, value in claim.items() if isinstance(value, int | float | np.number)
    }


if __name__ == "__main__":
    sys.exit("this is the inner half of bytegolf.verify.clean_room")
