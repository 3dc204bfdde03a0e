"""Does a record agree with itself: source with script, sizes with files, logs with figures?"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from bytegolf.errors import RunError, UserError
from bytegolf.record.bundle import bundle_of
from bytegolf.record.submission import (
    CODE,
    JSON,
    MOST_BYTES,
    MOST_SECONDS,
    README,
    REQUIREMENTS,
    SOURCE,
    TRACKS,
    log_name,
)

HEADER_END = "=" * 100 + "\n"  # a log may begin with the whole script, in which the same words stand
_DIGITS = 1e-8  # the exact figures in a log have eight decimals


@dataclass(frozen=True)
class Finding:
    """One check. fault: what is wrong, None when nothing is."""

    name: str
    fault: str | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"status": "pass" if self.fault is None else "fail"}


@dataclass(frozen=True)
class Folder:
    """A record, read. facts: submission.json."""

    path: Path
    facts: dict[str, Any]

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


def check_record(path: Path) -> Iterator[Finding]:
    """The findings, check by check; one whose input is broken says so. Raises RunError for no record at all."""
    if not (path / JSON).is_file():
        raise RunError("not the folder of a record", got=str(path), fix=f"it has no {JSON}")
    for name, check in CHECKS.items():
        try:
            fault = check(_opened(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            fault = f"cannot be checked: {type(error).__name__}: {error}"
        except UserError as error:
            fault = str(error)
        yield Finding(name, fault)


def _opened(path: Path) -> Folder:
    facts = json.loads((path / JSON).read_text(encoding="utf-8"))
    return Folder(path, facts if isinstance(facts, dict) else {})


def read_log(text: str) -> dict[str, Any]:
    """The figures of a log in the challenge's line format, read after its header: seed, code and model bytes,
    steps, and val_loss and val_bpb of the last exact result.
    """
    body = text.rpartition(HEADER_END)[2]
    patterns = {
        "seed": r"^seed:(\d+)$",
        "bytes_code": r"^Code size: (\d+) bytes$",
        "bytes_model": r"^Serialized model \S+: (\d+) bytes",
        "bytes_total": r"^Total submission size \S+: (\d+) bytes$",
        "steps": r"^step:(\d+)/\d+ train_loss:",
        "rounded_loss": r"^final_\w+ .*val_loss:([\d.]+) val_bpb:[\d.]+ eval_time",
        "rounded_bpb": r"^final_\w+ .*val_bpb:([\d.]+) eval_time",
        "val_loss": r"^final_\w+_exact .*val_loss:([\d.]+)",
        "val_bpb": r"^final_\w+_exact .*val_bpb:([\d.]+)",
    }
    found = {key: re.findall(pattern, body, re.M) for key, pattern in patterns.items()}
    return {key: float(values[-1]) for key, values in found.items() if values}


def _files(record: Folder) -> str | None:
    logs = {log_name(seed) for seed in record.facts["seeds"]}
    wanted = {CODE, JSON, README, REQUIREMENTS, SOURCE} | logs
    there = {entry.name for entry in record.path.iterdir()}
    return _apart("missing", wanted - there) or _apart("not of the record", there - wanted)


def _apart(what: str, names: set[str]) -> str | None:
    return f"{what}: {', '.join(sorted(names))}" if names else None


def _schema(record: Folder) -> str | None:
    schema = json.loads(resources.files("bytegolf.record").joinpath("submission.schema.json").read_bytes())
    errors = Draft202012Validator(schema).iter_errors(record.facts)
    first = min(errors, key=lambda error: [str(part) for part in error.absolute_path], default=None)
    return None if first is None else f"{'.'.join(map(str, first.absolute_path)) or JSON}: {first.message}"


def _tie(record: Folder) -> str | None:
    root = record.path / SOURCE
    sources = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    if bundle_of(sources) == record.read(CODE):
        return None
    return f"{SOURCE}/ does not make this {CODE}"


def _sizes(record: Folder) -> str | None:
    facts, code = record.facts, len(record.read(CODE))
    model = max(seed["bytes_model"] for seed in facts["seed_results"].values())
    if facts["bytes_code"] != code:
        return f"{CODE} has {code:,} bytes, {JSON} says {facts['bytes_code']:,}"
    if facts["bytes_model"] != model:
        return f"the largest model of a seed has {model:,} bytes, {JSON} says {facts['bytes_model']:,}"
    if facts["bytes_total"] != code + model:
        return f"{code:,} + {model:,} = {code + model:,} bytes, {JSON} says {facts['bytes_total']:,}"
    return None if code + model <= MOST_BYTES else f"{code + model:,} bytes are more than {MOST_BYTES:,}"


def _means(record: Folder) -> str | None:
    facts, seeds = record.facts, record.facts["seed_results"]
    if sorted(map(int, seeds)) != sorted(facts["seeds"]):
        return f"seeds {facts['seeds']}, results of {sorted(map(int, seeds))}"
    for key in ("val_loss", "val_bpb"):
        values = [seed[key] for seed in seeds.values()]
        spread = statistics.stdev(values) if len(values) > 1 else None
        for name, own in ((key, statistics.fmean(values)), (f"{key}_std", spread)):
            if not _close(facts[name], own, 1e-12):
                return f"{name} is {own} by the seeds, {JSON} says {facts[name]}"
    return None


def _limits(record: Folder) -> str | None:
    facts = record.facts
    own = {
        "bytes_within_16000000": facts["bytes_total"] <= MOST_BYTES,
        "train_within_600_s": facts["wallclock_seconds"] <= MOST_SECONDS,
        "eval_within_600_s": facts["eval_time_seconds"] <= MOST_SECONDS,
    }
    if facts["compliance"] != own:
        return f"by the figures {own}, {JSON} says {facts['compliance']}"
    broken = [name for name, kept in own.items() if not kept]
    return f"{TRACKS[0]} asks for {', '.join(broken)}" if facts["track"] == TRACKS[0] and broken else None


def _logs(record: Folder) -> str | None:
    code = record.facts["bytes_code"]
    for seed, result in record.facts["seed_results"].items():
        name = log_name(int(seed))
        log = read_log(record.read(name).decode())
        wanted = {
            "seed": int(seed),
            "bytes_code": code,
            "bytes_model": result["bytes_model"],
            "bytes_total": code + result["bytes_model"],
            "steps": result["steps"],
            "rounded_loss": round(result["val_loss"], 4),
            "rounded_bpb": round(result["val_bpb"], 4),
            "val_loss": result["val_loss"],
            "val_bpb": result["val_bpb"],
        }
        for key, value in wanted.items():
            if not _close(log.get(key), value, _DIGITS):
                return f"{name} says {key} {log.get(key)}, {JSON} {value}"
    return None


def _readme(record: Folder) -> str | None:
    text, facts = record.read(README).decode(), record.facts
    for figure in (f"{facts['val_bpb']:.4f}", f"{facts['bytes_total']:,}", facts["name"], facts["author"]):
        if figure not in text:
            return f"{README} does not say {figure!r}"
    return None


def _close(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0, abs_tol=tolerance)


CHECKS: Mapping[str, Callable[[Folder], str | None]] = {
    "the files are there, and no others": _files,
    "submission.json follows its schema": _schema,
    "source/ makes train_gpt.py, byte for byte": _tie,
    "code and models have the bytes they are said to have": _sizes,
    "means and deviations are those of the seeds": _means,
    "the limits of the track are kept": _limits,
    "every log says what submission.json says": _logs,
    "README.md says what submission.json says": _readme,
}
