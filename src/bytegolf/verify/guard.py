"""The rules of the clean room, kept by an audit hook: what Python opens, starts and connects to.

An audit hook sees what the interpreter and its standard library do. It does not see what native code does by
itself: a C extension may open a file unseen, and code that means harm can reach the memory of this process and so
this list. It finds what is careless or plainly cheating; the kernel's network namespace, where there is one, holds
for all of it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_MOST_RECORDED = 200
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Events that change the file system: every path they name must lie in the child's own folder.
_CHANGES = ["link", "symlink", "rename", "remove", "rmdir", "mkdir", "truncate", "chmod", "chown", "lchown"]
_CHANGES += ["utime", "setxattr", "removexattr", "chflags", "chdir", "fchdir"]
_PROCESSES = ["os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "os.startfile"]
_PROCESSES += ["os.kill", "pty.spawn", "subprocess.Popen", "webbrowser.open"]
# Functions of the C library through which ctypes would do unseen what is refused here.
_NATIVE = {"open", "open64", "openat", "openat64", "fopen", "fopen64", "creat", "dlopen", "process_vm_readv"}
_NATIVE |= {"socket", "connect", "syscall", "ptrace", "fork", "vfork", "clone", "system", "popen", "fexecve"}
_NATIVE |= {"execve", "execv", "execvp", "execl", "execlp", "posix_spawn", "posix_spawnp"}
_DEVICES = frozenset(("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"))
_LIBRARIES = tuple(map(os.path.realpath, ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")))


class Guard:
    """Refuses with PermissionError, and notes, whatever a scorer has no business with. Installed once, for good.

    own: the folder that may be written. files: the submission, which may be read. folders: where its modules are
    looked for; their names may be listed. opened: class of file -> paths in order; violations: [kind, what].
    """

    def __init__(self, own: Path, files: Sequence[str], folders: Sequence[str]) -> None:
        self._own = os.path.realpath(own)
        self._files = {os.path.realpath(file) for file in files}
        # Where modules are looked for, Python lists what there is.
        self._folders = {os.path.realpath(folder) for folder in (*folders, *sys.path) if folder}
        self._caches = {os.path.join(os.path.dirname(file), "__pycache__") for file in self._files}
        self._caches |= {os.path.join(os.path.realpath(folder), "__pycache__") for folder in folders}
        self._installed = _installed_roots()
        self._proc = f"/proc/{os.getpid()}"
        self.opened: dict[str, dict[str, None]] = {}
        self.violations: list[list[str]] = []
        self._rules: dict[str, Callable[[str, tuple[Any, ...]], None]] = {
            "open": self._open,
            "import": self._import,
            "os.listdir": self._list,
            "os.scandir": self._list,
            "sqlite3.connect": self._database,
            "ctypes.dlopen": self._library,
            "ctypes.dlsym": self._symbol,
            **dict.fromkeys((f"os.{name}" for name in _CHANGES), self._change),
            **dict.fromkeys(_PROCESSES, self._process),
        }

    def install(self) -> None:
        import _posixsubprocess  # multiprocessing starts its children through this, without an audit event

        def refuse(*args: object) -> int:
            self._refuse("process", "fork_exec")
            return -1

        _posixsubprocess.fork_exec = refuse
        sys.addaudithook(self._hook)

    def class_of(self, path: str) -> str | None:
        """own, submission, python, packages, bytegolf or system; None for what is not to be read."""
        plain, real = os.path.abspath(path), os.path.realpath(path)
        if real in self._files:
            return "submission"
        if _within(real, self._own):
            return "own"
        # An installer may have linked a package's files to its cache: their place among the packages counts.
        for place in (real,) if ".." in path else (real, plain):
            for kind, root in self._installed:
                if _within(place, root):
                    return kind
        if self._is_system(real):
            return "system"
        return None

    def _is_system(self, real: str) -> bool:
        if real.startswith("/proc/"):
            # Of processes only this one: another one's memory holds the text.
            return not real[6:7].isdigit() or _within(real, self._proc)
        library = real.startswith(_LIBRARIES) and ".so" in os.path.basename(real)
        clock = real == "/etc/localtime" or _within(real, "/usr/share/zoneinfo")
        return real.startswith("/sys/") or real in _DEVICES or library or clock

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        rule = self._rules.get(event)
        if rule is not None:
            rule(event, args)
        elif event.startswith("socket."):
            self._refuse("network", event)

    def _open(self, event: str, args: tuple[Any, ...]) -> None:
        path = _text(args[0])
        if path is None:
            return  # a number: that file was opened, and judged, before
        flags = args[2] if isinstance(args[2], int) else 0
        if flags & _WRITING:
            self._write(path)
            return
        kind = self.class_of(path)
        if kind is None and os.path.dirname(os.path.realpath(path)) in self._caches:
            # A compiled module could be anything; without it Python compiles the source, which is counted.
            raise PermissionError(1, "the clean room compiles the submission itself", path)
        if kind is None or (kind != "own" and os.path.isdir(path)):  # a folder's number would open anything
            self._refuse("read", path)
        self._note(str(kind), path)

    def _write(self, path: str) -> None:
        real = os.path.realpath(path)
        if not _within(real, self._own) and real not in _DEVICES:
            self._refuse("write", path)

    def _change(self, event: str, args: tuple[Any, ...]) -> None:
        for path in filter(None, map(_text, args)):
            if not _within(os.path.realpath(path), self._own):
                self._refuse("write", f"{path} ({event})")

    def _list(self, event: str, args: tuple[Any, ...]) -> None:
        path = _text(args[0])
        if path is None or self.class_of(path) or os.path.realpath(path) in self._folders:
            return
        if not any(_within(file, os.path.realpath(path)) for file in self._files):
            self._refuse("list", path)

    def _import(self, event: str, args: tuple[Any, ...]) -> None:
        path = _text(args[1])  # only compiled modules come with their file
        if path is None:
            return
        kind = self.class_of(path)
        if kind is None:
            self._refuse("read", path)
        self._note(str(kind), path)

    def _database(self, event: str, args: tuple[Any, ...]) -> None:
        path = _text(args[0])
        if path != ":memory:" and path is not None:
            self._write(path)

    def _library(self, event: str, args: tuple[Any, ...]) -> None:
        path = _text(args[0])
        if path is not None and (not os.path.isabs(path) or self.class_of(path) is None):
            self._refuse("native code", path)

    def _symbol(self, event: str, args: tuple[Any, ...]) -> None:
        if _text(args[1]) in _NATIVE:
            self._refuse("native code", str(args[1]))

    def _process(self, event: str, args: tuple[Any, ...]) -> None:
        self._refuse("process", f"{event} {args[0]!r:.80}" if args else event)

    def _note(self, kind: str, path: str) -> None:
        self.opened.setdefault(kind, {})[os.path.abspath(path)] = None

    def _refuse(self, kind: str, what: str) -> None:
        if kind in ("read", "list"):
            what = os.path.abspath(what)
        if [kind, what] not in self.violations and len(self.violations) < _MOST_RECORDED:
            self.violations.append([kind, what])
        raise PermissionError(1, "the clean room does not allow it", what)


def _installed_roots() -> list[tuple[str, str]]:
    """(kind, folder) of all that is installed, the innermost first: packages may lie below the library."""
    paths = sysconfig.get_paths()
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    packages = [paths["purelib"], paths["platlib"]]
    library = [paths["stdlib"], paths["platstdlib"]]
    others = [entry for entry in sys.path if entry and os.path.isabs(entry) and entry not in library]
    others = [entry for entry in others if entry != os.path.dirname(home)]  # of that folder only bytegolf
    roots = [("bytegolf", home)]
    roots += [("packages", place) for place in packages]
    roots += [
        ("python" if any(_within(entry, place) for place in library) else "packages", entry)
        for entry in others
        if not any(_within(entry, place) for place in packages)
    ]
    roots += [("python", place) for place in library]
    return [
        (kind, root) for kind, place in roots for root in {os.path.abspath(place), os.path.realpath(place)}
    ]


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _text(value: object) -> str | None:
    """A path as text; None for None and for the number of a file that is open."""
    if value is None or isinstance(value, int):
        return None
    try:
        return os.fsdecode(value)  # type: ignore[arg-type]
    except TypeError:
        return str(value)
