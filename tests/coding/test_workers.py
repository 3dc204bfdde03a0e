"""Worker processes: the same file as alone, and no hang, orphan or half a file whatever becomes of them."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import threadpoolctl
from fake_coder import Fake
from stream_samples import RECIPE, packed, unpacked

from bytegolf.coding.block import StreamError, Text, nothing
from bytegolf.coding.stream import Work, compress
from bytegolf.coding.workers import WorkerError, crew
from bytegolf.errors import UserError

DATA = b"".join(b"line %d of a text in blocks\n" % i for i in range(400))
TWO = Work(lanes=2, threads=2)
PATIENCE = 60.0  # seconds; only what hangs needs them


def gone(pid: int) -> bool:
    """Ended, or ended and not yet asked for its exit code."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")  # where there is no /proc, no zombie stays either
        return Path("/proc/self/stat").exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def pids_in(note: Path) -> set[int]:
    return {int(line) for line in note.read_text().split()} if note.exists() else set()


def wait_for(what: object, test: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while not test():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_processes_make_the_same_file_and_read_it(tmp_path: Path) -> None:
    alone = packed(DATA, block=1000)
    note = tmp_path / "pids"
    seen: list[int] = []
    assert packed(DATA, Fake(note=str(note)), block=1000, work=TWO, progress=seen.append) == alone
    assert len(pids_in(note)) == 2
    assert os.getpid() not in pids_in(note)
    assert seen == sorted(seen)
    assert seen[-1] == len(DATA)
    assert unpacked(alone, work=Work(lanes=3, threads=2)) == DATA
    assert all(map(gone, pids_in(note)))


def test_one_block_needs_no_process(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    packed(b"short", Fake(note=str(note)), work=Work(8, 2))
    assert pids_in(note) == {os.getpid()}


def test_damage_is_named_from_a_process_too() -> None:
    stream = bytearray(packed(DATA, block=1000))
    stream[-10] ^= 1
    with pytest.raises(StreamError, match="block 12 is damaged"):
        unpacked(bytes(stream), work=TWO)


@pytest.mark.parametrize("work", [Work(2), TWO], ids=["alone", "processes"])
@pytest.mark.parametrize(
    ("trouble", "error", "says"),
    [
        ("raise", ValueError, "this coder cannot"),
        ("memory", WorkerError, "more memory than there is"),
        ("no build", ValueError, "nothing to build"),
        ("refuse", UserError, "the coder refuses"),
    ],
)
def test_what_a_coder_raises_arrives(work: Work, trouble: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        packed(DATA, Fake(trouble, at=b"line 50 "), block=1000, work=work)
    if error is UserError:
        assert str(caught.value) == "the coder refuses; got b'line' (in the text)\n  -> another text"
    elif error is ValueError and work == TWO:
        assert "fake_coder.py" in "".join(caught.value.__notes__)


def test_a_worker_that_dies_is_one_error_and_the_others_go(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    with pytest.raises(WorkerError, match="a worker process died") as error:
        packed(DATA, Fake("die", at=b"line 50 ", note=str(note)), block=1000, work=TWO)
    assert error.value.got == "signal 9"
    assert all(map(gone, pids_in(note)))


def test_a_worker_that_died_between_two_batches_is_the_same_error(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    texts = [Text(b"one"), Text(b"two")]
    with crew(Fake(note=str(note)), 2) as coders:
        assert None not in coders.encode(texts, nothing)
        for pid in pids_in(note):
            os.kill(pid, signal.SIGKILL)
        wait_for("workers gone", lambda: all(map(gone, pids_in(note))))
        with pytest.raises(WorkerError, match="a worker process died"):
            coders.encode([Text(bytes(1 << 20)), Text(b"two")], nothing)


def test_ctrl_c_ends_every_process(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    with pytest.raises(KeyboardInterrupt):
        packed(DATA, Fake("interrupt", at=b"line 50 ", note=str(note)), block=1000, work=TWO)
    assert pids_in(note)
    assert all(map(gone, pids_in(note)))


def test_matrix_libraries_get_one_thread() -> None:
    with threadpoolctl.threadpool_limits(None):  # puts back what the coder sets
        packed(b"x", Fake("threads"))
    packed(DATA, Fake("threads"), block=1000, work=TWO)


KILLED = """
import io, sys
from pathlib import Path
from fake_coder import Fake
from bytegolf.coding.stream import Work, compress
from bytegolf.files import atomic
if __name__ == "__main__":
    with atomic(Path("out.golfz")) as sink:
        compress(io.BytesIO(bytes(10_000)), sink, Fake(seconds=1.0, note="pids"), block=1000, work=Work(1, 2))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_compress_leaves_no_file_and_no_process(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, "killed.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        start_new_session=True,
    )
    try:
        wait_for("workers at work", lambda: len(pids_in(tmp_path / "pids")) == 2)
        if how == signal.SIGINT:  # a terminal sends it to all of them
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        _, err = process.communicate(timeout=PATIENCE)
        wait_for("workers gone", lambda: all(map(gone, pids_in(tmp_path / "pids"))))
    finally:
        process.kill()
    assert not (tmp_path / "out.golfz").exists()
    assert err.count("Traceback") == (1 if how == signal.SIGINT else 0), "workers are silent"
    if how == signal.SIGINT:
        assert {path.name for path in tmp_path.iterdir()} == {"killed.py", "pids"}


def test_a_coder_that_loses_blocks_is_a_bug_that_shows() -> None:
    class Forgetful(Fake):
        def encode(self, texts: object, report: object = None) -> list[None]:  # type: ignore[override]
            return []

    with pytest.raises(RuntimeError, match="0 results for 1 blocks"):
        compress(io.BytesIO(b"x"), io.BytesIO(), Forgetful())


def test_coders_of_one_recipe_are_the_same_coder() -> None:
    with pytest.raises(RuntimeError, match="2 identities"):
        packed(DATA, Fake("identities"), block=1000, work=TWO)
    assert RECIPE.identity == Fake("raise").identity
