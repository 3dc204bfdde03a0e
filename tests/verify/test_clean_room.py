"""A process of its own: what it may read, that it cannot look ahead, that its clock is the referee's."""

from __future__ import annotations

import ast
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bytegolf.errors import ConfigError
from bytegolf.verify import clean_run
from bytegolf.verify.clean_room import CHECKS, _targets_of_all
from bytegolf.verify.clean_run import run_in_clean_room
from bytegolf.verify.foreign import rebuild
from bytegolf.verify.wire import Wire
from verify_samples import HONEST, case_of, cheat, honest, run, texts

# `inside` is true in the clean room's process and false in this one.
PREDICTOR = """
import os, sys, time
import numpy as np
inside = sys.flags.isolated
class Predictor:
    def __init__(self):
        self.p = np.full(257, 1 / 257)
        {start}
    def begin(self, document): pass
    def probabilities(self): return self.p
    def observe(self, symbol):
        {observe}
"""


def written(folder: Path, start: str = "pass", observe: str = "pass", **fields: Any) -> Any:
    """A case for a predictor that does something at its start or with each symbol."""
    file = folder / "predictor.py"
    file.write_text(PREDICTOR.format(start=start, observe=observe))
    return case_of(f"{file}:Predictor", texts(2), **fields)


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_model_costs_the_same_in_the_clean_room(name: str) -> None:
    case = honest(name, budget=100_000, seconds=300.0)
    for check in ("T9", "T10"):
        assert run(CHECKS, check, case).status == "pass"
    assert run(CHECKS, "T9", case).figures["bit_identical"]
    assert not run(CHECKS, "T9", case).figures["violations"]


@pytest.mark.parametrize(
    ("name", "files", "kind"),
    [
        ("reads_validation_file", True, "read"),
        ("undeclared_helper", True, "read"),
        ("asks_the_network", False, "network"),
        ("starts_a_process", False, "process"),
        ("reads_the_referees_memory", False, "read"),
    ],
)
def test_what_is_not_the_submission_is_refused_and_told(
    name: str, files: bool, kind: str, tmp_path: Path
) -> None:
    outcome = run(CHECKS, "T9", cheat(name, tmp_path if files else None))
    assert outcome.status == "fail"
    assert {found for found, _ in outcome.figures["violations"]} == {kind}
    assert kind in outcome.measured


def test_a_second_pass_over_the_text_shows_as_another_cost() -> None:
    case = cheat("remembers_the_pass_before")
    case.subject.run(case.tokens)
    outcome = run(CHECKS, "T9", case)
    assert outcome.status == "fail"
    assert not outcome.figures["violations"]
    assert outcome.figures["largest_difference"] > 1
    assert "differ" in outcome.measured


def test_a_predictor_gets_a_symbol_after_its_distribution_and_no_other(tmp_path: Path) -> None:
    """It writes down what it has been given, and reads ahead on every descriptor that it can find."""
    ahead = "assert not inside or not os.read(0, 1)"
    outcome = run(CHECKS, "T9", written(tmp_path, observe=ahead))
    assert outcome.status == "pass", outcome


def test_the_referee_sends_no_symbol_before_the_distribution_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has left the referee when distribution t comes in: the request, the end that is given, t symbols."""
    sent: list[int] = []
    answers = 0

    class Watched(Wire):
        def send(self, message: Any) -> None:
            sent.extend([] if isinstance(message, dict) else message.tolist())
            super().send(message)

        def receive(self) -> Any:
            nonlocal answers
            message = super().receive()
            if not isinstance(message, dict):
                assert len(sent) == answers + 1
                answers += 1
            return message

    monkeypatch.setattr(clean_run, "Wire", Watched)
    case = honest("Streaming", texts(2))
    assert run_in_clean_room(case).error is None
    assert answers == len(case.tokens) - 1
    assert sent == case.tokens[:-1].tolist()


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        ("open('/etc/hostname')", "read"),
        ("open('/proc/self/root/etc/hostname')", "read"),
        ("os.open('/', 0)", "read"),
        ("os.open(os.path.dirname(os.__file__), 0)", "read"),
        ("os.listdir('/etc')", "list"),
        ("open('THERE', 'w')", "write"),
        ("os.mkdir('THERE')", "write"),
        ("os.system('true')", "process"),
        ("os.fork()", "process"),
        ("__import__('multiprocessing').get_context('spawn').Process(target=print).start()", "process"),
        ("__import__('sqlite3').connect('THERE')", "write"),
        ("__import__('ctypes').CDLL('libc.so.6')", "native code"),
        ("__import__('ctypes').CDLL(None).open", "native code"),
    ],
)
def test_the_guard_refuses(act: str, kind: str, tmp_path: Path) -> None:
    there = tmp_path / "there"
    done = run_in_clean_room(written(tmp_path, f"if inside: {act.replace('THERE', str(there))}"))
    assert kind in {found for found, _ in done.violations}
    assert done.error is not None
    assert "Error" in done.error
    assert not there.exists()


def test_the_guard_allows_what_python_and_a_scorer_need(tmp_path: Path) -> None:
    """Its own folder, its declared files, installed packages, a module that is imported late."""
    (tmp_path / "weights.bin").write_bytes(b"1234")
    start = (
        "import decimal, tempfile, pydantic, pathlib; open('scratch', 'w').write('x'); open('scratch').read()\n"
        f"        assert open({str(tmp_path / 'weights.bin')!r}, 'rb').read() == b'1234'\n"
        "        open('/dev/urandom', 'rb').close(); open('/proc/self/status').close()"
    )
    (tmp_path / "here").mkdir()
    case = written(tmp_path, f"if not inside: return\n        {start}")
    case = case_of(case.in_clean_room["spec"], texts(2), files=[tmp_path / "weights.bin"])
    outcome = run(CHECKS, "T9", case)
    assert outcome.status == "pass", outcome
    assert outcome.figures["opened"]["submission"] == 2
    assert "pydantic" in outcome.figures["packages"]


def test_the_environment_is_empty_and_so_is_the_folder(tmp_path: Path) -> None:
    start = "assert not inside, (sorted(os.environ), os.listdir('.'))"
    done = run_in_clean_room(written(tmp_path, start))
    assert done.error is not None
    names, folder = ast.literal_eval(
        done.error.removeprefix("AssertionError: ").rpartition(" (predictor.py")[0]
    )
    assert set(names) - {"LC_CTYPE"} <= {
        "PATH",
        "TMPDIR",
        "OMP_NUM_THREADS",
    }  # Python itself may choose the first
    assert folder == []


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("print('hello'); sys.stdout.flush(); 1 / 0", "ZeroDivisionError"),
        ("sys.exit(3)", "SystemExit"),
        ("os._exit(4)", "code 4"),
    ],
)
def test_a_child_that_fails_is_told_of(start: str, says: str, tmp_path: Path) -> None:
    case = written(tmp_path, f"if inside: {start}")
    outcome = run(CHECKS, "T9", case)
    assert outcome.status == "fail"
    assert says in outcome.measured
    assert run(CHECKS, "T10", case).status == "fail"


def test_what_a_predictor_prints_is_no_message(tmp_path: Path) -> None:
    outcome = run(CHECKS, "T9", written(tmp_path, observe="print('J' * 9, flush=True)"))
    assert outcome.status == "pass", outcome


def test_a_child_that_does_not_end_is_stopped_and_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    popen = clean_run.subprocess.Popen
    monkeypatch.setattr(
        clean_run.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    hang = "if inside: time.sleep(600)"
    done = run_in_clean_room(written(tmp_path, hang), limit=1.0)
    assert done.error == "stopped after 1 s"
    assert started[-1].returncode is not None


def test_an_interrupt_stops_a_child_in_the_middle_of_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    popen = clean_run.subprocess.Popen
    monkeypatch.setattr(
        clean_run.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )

    def interrupted(run: Any, wire: Any, *others: object) -> None:
        wire.receive()  # from here on the child builds its subject, which takes five seconds
        raise KeyboardInterrupt

    monkeypatch.setattr(clean_run, "_score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in_clean_room(written(tmp_path, "if inside: time.sleep(5)"))
    assert started[-1].returncode == -signal.SIGKILL


def test_work_outside_its_own_timer_is_found() -> None:
    outcome = run(CHECKS, "T10", cheat("works_before_its_timer", documents=texts(2)))
    assert outcome.status == "fail"
    assert "its own clock" in outcome.measured
    assert outcome.figures["seconds"] > 1.2 > outcome.figures["claimed_seconds"]


def test_loading_installed_packages_is_no_work_and_loading_its_own_modules_is(tmp_path: Path) -> None:
    (tmp_path / "golf_own_module.py").write_text("import time\nimport sympy\ntime.sleep(0.3)\n")
    case = written(tmp_path, "if inside: import golf_own_module")
    case = case_of(case.in_clean_room["spec"], texts(2), files=[tmp_path / "golf_own_module.py"])
    figures = run(CHECKS, "T10", case).figures
    assert 0 < figures["importing_packages"] <= figures["building"] - 0.2  # of 0.3 that its own module sleeps


@pytest.mark.parametrize(("seconds", "status"), [(1.0, "fail"), (1e9, "pass")])
def test_a_claim_about_another_number_of_targets_is_held_against_as_many(
    seconds: float, status: str, tmp_path: Path
) -> None:
    claim = f"pass\n    def claim(self): return {{'seconds': {seconds}, 'targets': 10**9}}"
    outcome = run(CHECKS, "T10", written(tmp_path, observe=claim))
    assert outcome.status == status
    assert outcome.figures["claimed_seconds"] == seconds
    scoring = outcome.figures["targets"] / outcome.figures["targets_per_second"]
    times = 1e9 / outcome.figures["targets"]
    assert outcome.figures["spent_on_what_is_claimed"] == pytest.approx(scoring * times, rel=0.01)


def test_what_takes_longer_than_it_may_fails_measured_or_projected() -> None:
    assert run(CHECKS, "T10", honest("Order0", seconds=0.001)).status == "fail"
    # Half a gigabyte in hundred seconds: no machine is as fast, and none so slow that it takes them for 200 bytes.
    many = honest("Order0", texts(4) * 1_000_000, sample=200, seconds=100.0)
    outcome = run(CHECKS, "T10", many)
    assert outcome.status == "fail"
    assert outcome.figures["seconds"] < 100 < outcome.figures["projected_seconds"]


def test_the_targets_of_all_the_text_follow_from_its_bytes() -> None:
    case = honest("Order0", texts(40, words=60), sample=1500)
    whole = len(case.stream(case.documents)) - 1
    assert len(case.tokens) < 1501 < whole
    assert _targets_of_all(case) == pytest.approx(whole, rel=0.02)


def test_no_child_no_verdict_and_a_missing_file_is_an_error(tmp_path: Path) -> None:
    case = honest("Order0")
    object.__setattr__(case, "in_clean_room", None)
    assert [run(CHECKS, id, case).status for id in ("T9", "T10")] == ["not run"] * 2
    with pytest.raises(ConfigError, match="must exist"):
        run(CHECKS, "T9", honest("Order0", files=[tmp_path / "nothing"]))


def test_an_artifact_is_opened_again_in_the_child(tmp_path: Path) -> None:
    """The door to verify/packed.py: a stub of it stands beside the package that the child loads."""
    case = honest("WholeText", texts(3))
    object.__setattr__(case, "in_clean_room", {"kind": "artifact", "path": tmp_path / "a.golf", "score": {}})
    (tmp_path / "a.golf").write_bytes(b"no artifact")
    request = clean_run._request(case)
    assert request["files"] == [str(tmp_path / "a.golf")]
    assert request["path"] == str(tmp_path / "a.golf")


def test_a_distribution_that_lacks_the_symbol_gives_no_number(tmp_path: Path) -> None:
    case = written(tmp_path, "if inside: self.p = self.p[:100]")
    done = run_in_clean_room(case)
    assert done.nats is not None
    assert np.isnan(done.nats).any()
    assert run(CHECKS, "T9", case).figures["largest_difference"] == np.inf


def test_rebuilding_needs_nothing_of_this_process() -> None:
    here = rebuild("a.py:b", [])
    assert here["spec"] == f"{Path.cwd() / 'a.py'}:b"
    assert here["path"] == [str(Path.cwd())]
