"""The queue of a sweep: every trial once, in a fixed order, for any number of workers that see the same folder.

FOLDER/sweep.json   what is compared: the spec, the base, the data
FOLDER/journal.log  Optuna's journal: each trial, its state, its figures
FOLDER/trial-004-seed2/   the run directory of one trial
FOLDER/work/        for each trial its config (.toml), what its process said (.log), and the lock of who runs it

A trial that is being run is locked by its worker and by the process that trains, and the system drops a lock with
its holder. So a trial that runs and is locked by nobody has lost its worker; it is queued again, and goes on from
its checkpoint.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bytegolf.config.load import dump_toml, flatten, to_tree
from bytegolf.errors import ConfigError, RunError
from bytegolf.files import write_atomically
from bytegolf.sweep import locks
from bytegolf.sweep.spec import Spec
from bytegolf.sweep.trials import Plan, Setting

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial, TrialState

STUDY, ABOUT, JOURNAL, WORK = "sweep", "sweep.json", "journal.log", "work"


@dataclass(frozen=True)
class Row:
    """One trial as the journal has it.

    setting: a number; values: what it sets. state: waiting, running, done, failed. facts of one that is done: bpb,
    unpacked_bpb, artifact_bytes, steps, tokens, train_seconds, seconds. error of one that failed.
    """

    name: str
    setting: int
    values: dict[str, Any]
    is_base: bool
    identity: str
    seed: int
    state: str
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass
class Claim:
    """A trial that this process runs, until its lock is closed."""

    row: Row
    run: Path
    config: Path
    lock_path: Path
    lock: int
    trial: Trial

    def release(self) -> None:
        os.close(self.lock)


def require_optuna() -> None:
    """Raises ConfigError when the library that keeps the queue is missing."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "bytegolf sweep needs the library optuna",
            got=str(error),
            fix='pip install "bytegolf[sweep]", or pip install optuna',
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class Queue:
    """All that is said to the journal is said under one lock, so that one worker at a time decides."""

    def __init__(self, folder: Path) -> None:
        """Raises RunError when there is no sweep in the folder."""
        self.folder = folder
        if not (folder / ABOUT).is_file():
            raise RunError("no sweep has been started there", got=str(folder), fix="leave out --show")
        try:
            self.about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"the sweep is damaged: {error}", where=folder / ABOUT) from None

    @classmethod
    def open(
        cls, folder: Path, spec: Spec, plan: Plan, data: Mapping[str, Any], tell: Callable[[str], None]
    ) -> Queue:
        """Start a sweep, or go on with it: trials that are new are appended.

        Raises RunError when something else is in the way, or when the sweep there compares something else.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ABOUT).is_file() and (others := _foreign(folder)):
            raise RunError(
                "something that is no sweep is in the way",
                got=f"{others[0]} in {folder}",
                where="--out",
                fix="choose another --out",
            )
        (folder / WORK).mkdir(exist_ok=True)
        about = {"spec": spec.model_dump(mode="json"), "base": to_tree(plan.base), "data": dict(data)}
        with locks.exclusively(folder / WORK / "sweep.lock"):
            if (folder / ABOUT).is_file():
                _check_same(cls(folder).about, about, folder)
            else:
                write_atomically(folder / ABOUT, _json(about))
            queue = cls(folder)
            with queue._study() as study:
                added = queue._enqueue(study, plan)
            write_atomically(folder / ABOUT, _json(about))
        if added:
            tell(f"{added:,} runs queued in {folder}")
        return queue

    def rows(self) -> list[Row]:
        """Every trial, in the order of the queue."""
        with self._locked() as study:
            return [_row(trial) for trial in _current(study)]

    def claim(self, may_begin: Callable[[list[Row], Row], bool]) -> Claim | None:
        """The next trial, now this worker's; None when none waits, or `may_begin(all, next)` says no."""
        with self._locked() as study:
            self._queue_lost_again(study)
            rows = [_row(trial) for trial in _current(study)]
            waiting = _row(trials[0]) if (trials := _waiting(study)) else None
            if waiting is None or not may_begin(rows, waiting):
                return None
            trial = study.ask()  # the waiting one with the lowest number
            assert trial.user_attrs["name"] == waiting.name
            lock_path = self.folder / WORK / f"{waiting.name}.lock"
            lock = locks.shared(lock_path)
            assert lock is not None
        config = lock_path.with_suffix(".toml")
        return Claim(waiting, self.folder / waiting.name, config, lock_path, lock, trial)

    def finish(self, claim: Claim, facts: Mapping[str, Any], value: float) -> None:
        with self._locked() as study:
            claim.trial.set_user_attr("facts", dict(facts))
            study.tell(claim.trial.number, value)
        claim.release()

    def fail(self, claim: Claim, error: str, facts: Mapping[str, Any]) -> None:
        with self._locked() as study:
            claim.trial.set_user_attr("facts", dict(facts))
            claim.trial.set_user_attr("error", error)
            study.tell(claim.trial.number, state=_states()["failed"])
        claim.release()

    def _enqueue(self, study: Study, plan: Plan) -> int:
        """Add the trials that are not there yet. Raises RunError when one that is there would not be run now."""
        known = {(row.identity, row.seed): row for row in map(_row, _current(study))}
        numbers = {row.identity: row.setting for row in known.values()}
        wanted = [(setting, setting.identity, seed) for setting, seed in plan.runs()]
        missing = known.keys() - {(identity, seed) for _, identity, seed in wanted}
        if missing:
            gone = known[min(missing, key=lambda one: known[one].name)]
            raise RunError(
                "a sweep may grow, and not lose runs that it has",
                got=f"no run with {described(gone.values)}, seed {gone.seed} ({gone.name})",
                where=self.folder,
                fix="put it back into the spec, or start another sweep with --out",
            )
        added = 0
        for setting, identity, seed in wanted:
            number = numbers.setdefault(identity, len(numbers))
            if (identity, seed) not in known:
                self._add(study, setting, identity, number, seed, setting.config == plan.base)
                added += 1
        return added

    def _add(
        self, study: Study, setting: Setting, identity: str, number: int, seed: int, is_base: bool
    ) -> None:
        name = f"trial-{number:03d}-seed{seed}"
        config = dump_toml(setting.with_seed(seed)).encode()
        write_atomically(self.folder / WORK / f"{name}.toml", config)
        row = Row(name, number, setting.values, is_base, identity, seed, "waiting")
        study.add_trial(_new_trial(_identifying(asdict(row))))

    def _queue_lost_again(self, study: Study) -> None:
        """A trial that runs and is locked by nobody: a copy waits for it, then the lost one is closed.

        A kill between the two leaves a lost one that has its copy already.
        """
        newest = {trial.number for trial in _current(study)}
        for trial in study.get_trials(deepcopy=False, states=[_states()["running"]]):
            if locks.is_held(self.folder / WORK / f"{trial.user_attrs['name']}.lock"):
                continue
            if trial.number in newest:
                study.add_trial(_new_trial(_identifying(trial.user_attrs)))
            study.tell(trial.number, state=_states()["failed"])

    @contextmanager
    def _locked(self) -> Iterator[Study]:
        with locks.exclusively(self.folder / WORK / "sweep.lock"), self._study() as study:
            yield study

    @contextmanager
    def _study(self) -> Iterator[Study]:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        path = self.folder / JOURNAL
        _mend(path)
        storage = JournalStorage(JournalFileBackend(str(path)))
        try:
            study = optuna.load_study(study_name=STUDY, storage=storage)
        except KeyError:
            study = optuna.create_study(study_name=STUDY, storage=storage)
        yield study


def _mend(journal: Path) -> None:
    """Take away what a kill or a full disk left behind: half a line, and the journal's own lock.

    Called under the lock of the sweep, so that nobody holds the other.
    """
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    content = journal.read_bytes() if journal.is_file() else b""
    if content and not content.endswith(b"\n"):
        write_atomically(journal, content[: content.rfind(b"\n") + 1])


def _states() -> dict[str, TrialState]:
    from optuna.trial import TrialState

    return {
        "waiting": TrialState.WAITING,
        "running": TrialState.RUNNING,
        "done": TrialState.COMPLETE,
        "failed": TrialState.FAIL,
    }


def _current(study: Study) -> list[FrozenTrial]:
    """Of each name the newest trial, in the order in which the names were queued."""
    return list({trial.user_attrs["name"]: trial for trial in study.get_trials(deepcopy=False)}.values())


def _waiting(study: Study) -> list[FrozenTrial]:
    return sorted(study.get_trials(deepcopy=False, states=[_states()["waiting"]]), key=lambda t: t.number)


def _row(trial: FrozenTrial) -> Row:
    state = {known: name for name, known in _states().items()}[trial.state]
    return Row(**trial.user_attrs, state=state)


def _identifying(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial is from the start on."""
    return {key: value for key, value in row.items() if key not in ("state", "facts", "error")}


def _new_trial(attributes: dict[str, Any]) -> FrozenTrial:
    """Waiting. Numbers are Optuna's parameters too, for its own tools; all values are among the attributes."""
    from optuna.distributions import FloatDistribution
    from optuna.trial import create_trial

    numbers = {
        key: float(value)
        for key, value in attributes["values"].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return create_trial(
        state=_states()["waiting"],
        params=numbers,
        distributions={key: FloatDistribution(value, value) for key, value in numbers.items()},
        user_attrs=attributes,
    )


def _check_same(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    """Raises RunError, with what differs, unless both compare the same thing on the same data."""

    def compared(about: dict[str, Any]) -> dict[str, Any]:
        return {"objective": about["spec"]["objective"]} | flatten(about["base"])

    before, now = compared(old), compared(new)
    both = old["data"].keys() & new["data"].keys()
    before |= flatten({"data": {key: old["data"][key] for key in both}})
    now |= flatten({"data": {key: new["data"][key] for key in both}})
    different = [
        f"{key} was {before.get(key, 'not set')} and is {now.get(key, 'not set')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if different:
        raise RunError(
            "a sweep goes on with what it began with:\n  " + "\n  ".join(different),
            where=folder,
            fix="put it back, or start another sweep with --out; more seeds and more settings may come",
        )


def _foreign(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if path.name != WORK and not path.name.startswith(".")
    )


def _json(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2) + "\n").encode()


def described(values: Mapping[str, Any]) -> str:
    """`model.dim = 64, train.clip = 0.5`; `base` for no values."""
    return ", ".join(f"{key} = {value}" for key, value in values.items()) or "base"
