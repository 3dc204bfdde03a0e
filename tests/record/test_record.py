"""A record of three runs agrees with itself and with the runs, and says so of nothing that was altered."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from challenge_parser import parse
from shop_samples import CREDITS, SEEDS, done

from bytegolf.record import challenge_log
from cli_samples import Answer, call
from tiny import tiny_config


@pytest.fixture
def copy(record: Path, tmp_path: Path) -> Path:
    return shutil.copytree(record, tmp_path / "record")


def facts_of(record: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((record / "submission.json").read_text())
    return facts


def result(answer: Answer) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(answer.out)
    return parsed


def failures(folder: Path) -> list[str]:
    answer = call("record", "--check", folder, "--json")
    found = result(answer)
    failed = [check["name"] for check in found["checks"] if check["status"] == "fail"]
    assert answer.code == (1 if failed else 0)
    assert found["verdict"] == ("fail" if failed else "pass")
    return failed


def test_a_record_agrees_with_itself(record: Path) -> None:
    assert failures(record) == []


def test_its_figures_are_those_of_the_runs(shop: Path, record: Path) -> None:
    facts = facts_of(record)
    assert facts["seeds"] == list(SEEDS)
    bpb = []
    for seed in SEEDS:
        run = shop / "runs" / f"seed-{seed}"
        (path,) = (run / "results").glob("score-*.json")
        scored, summary = json.loads(path.read_text()), json.loads((run / "run.json").read_text())
        own = facts["seed_results"][str(seed)]
        assert (own["val_bpb"], own["val_loss"]) == (scored["bpb"], scored["nats_per_token"])
        assert own["bytes_model"] == (run / "model.golf").stat().st_size
        assert (own["steps"], own["train_seconds"]) == (summary["steps"], summary["seconds"])
        bpb.append(scored["bpb"])
    mean = sum(bpb) / 3
    assert facts["val_bpb"] == pytest.approx(mean, rel=1e-15)
    assert facts["val_bpb_std"] == pytest.approx((sum((x - mean) ** 2 for x in bpb) / 2) ** 0.5)
    assert facts["bytes_total"] == (record / "train_gpt.py").stat().st_size + facts["bytes_model"]


def test_its_logs_are_read_by_a_parser_that_knows_nothing_of_us(record: Path) -> None:
    facts = facts_of(record)
    for seed in SEEDS:
        log = parse((record / f"train_seed{seed}.log").read_text())
        own = facts["seed_results"][str(seed)]
        assert log["seed"] == seed
        assert log["val_bpb"] == pytest.approx(own["val_bpb"], abs=1e-8)
        assert log["val_loss"] == pytest.approx(own["val_loss"], abs=1e-8)
        assert log["code_bytes"] == facts["bytes_code"]
        assert log["model_bytes"] == own["bytes_model"]


@pytest.mark.parametrize(
    ("below", "every", "snapshots"), [(0.5, 5, 10), (0.5, 60, 1), (0.001, 7, 0), (1.0, 1, 99)]
)
def test_the_log_tells_of_an_average_where_the_published_script_would(
    below: float, every: int, snapshots: int
) -> None:
    """After step i, counted from 1, PR 162 takes a snapshot when scale < start_frac and i % swa_every == 0."""
    config = tiny_config(f"train.averaging={{kind='swa', below={below}, every={every}}}")
    log = challenge_log.Snapshots(config)
    scales = [1 - i / 100 for i in range(100)]
    lines = [line for i, scale in enumerate(scales, 1) for line in log.after(i, scale)]
    taken = [i for i, scale in enumerate(scales, 1) if scale < below and i % every == 0]
    assert len(taken) == log.count == snapshots
    assert lines == [f"swa:start step:{i}" for i in taken[:1]]
    ended = list(challenge_log.after_training(config, 100, 1.0, 1 << 20, log))
    applied = [f"swa:applying averaged {snapshots} checkpoints"] if snapshots > 1 else []
    assert ended[ended.index("peak memory allocated: 1 MiB") + 1 :] == applied


@pytest.mark.parametrize(
    ("override", "processes", "accumulated"),
    [
        ("train.micro_rows=2", 1, 3),
        ("train.micro_rows=2", 3, 1),
        ("train.microbatch_tokens=32", 1, 3),
        ("train.microbatch_tokens=32", 2, 2),
        ("train={micro_rows=3, microbatch_tokens=16}", 1, 6),
        ("train.micro_rows=0", 1, 1),
    ],
)
def test_the_log_counts_the_pieces_of_a_step(override: str, processes: int, accumulated: int) -> None:
    config = tiny_config("train.rows=6", override)
    data = {"tokenizer_kind": "bpe", "name": "tiny", "train_shards": 1, "val_tokens": 1}
    log = parse("\n".join(challenge_log.opening(config, 1, processes, data)))
    assert (config.model.context, log["world_size"]) == (16, processes)
    assert log["grad_accum_steps"] == accumulated


def numbers(value: object) -> set[str]:
    """A figure as a reader may find it: as it is, with separators, cut to some decimals."""
    if isinstance(value, dict):
        return set().union(*map(numbers, value.values()), *map(numbers, value))
    if isinstance(value, list):
        return set().union(*map(numbers, value), {str(len(value))})
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, int):
        return {str(value), f"{value:,}"}
    if isinstance(value, float):
        return {f"{value:.{digits}f}" for digits in range(1, 6)}
    return set(re.findall(r"\d[\d,.]*\d|\d", str(value)))


def test_every_number_in_its_readme_is_one_of_the_runs(shop: Path, record: Path) -> None:
    facts = facts_of(record)
    known = numbers(facts) | {"16,000,000", "8", str(len(SEEDS))}
    for seed in SEEDS:
        run = shop / "runs" / f"seed-{seed}"
        for path in (run / "run.json", *(run / "results").glob("*.json")):
            known |= numbers(json.loads(path.read_text()))
        known |= numbers((run / "config.toml").read_text()) | numbers(run.name)
        known |= numbers(result(done("pack", run, "--out", shop / "again.golf", "--json")))
        known |= numbers(facts["bytes_code"] + facts["seed_results"][str(seed)]["bytes_model"])
    known |= {str(sum(1 for path in (record / "source").rglob("*") if path.is_file()))}
    known |= numbers([row["bits_per_weight"] for row in result(done("pack", run, "--json"))["roles"]])
    text = re.sub(r"`[^`]*`|^    .*$|train_gpt|H100s", " ", (record / "README.md").read_text(), flags=re.M)
    found = set(re.findall(r"(?<![A-Za-z\d_.])\d[\d,.]*\d|(?<![A-Za-z\d_.,])\d", text))
    assert found - known == set()


# What is altered -> how -> the checks that must notice.
ALTERED: dict[str, tuple[str, str, str]] = {
    "a score": ("submission.json", r'"val_bpb": \d\.\d', '"val_bpb": 0.9'),
    "a log": ("train_seed42.log", r"val_bpb:\d\.\d", "val_bpb:0.9"),
    "a seed's log": ("train_seed7.log", r"seed:7", "seed:8"),
    "the title": ("submission.json", r'"name": "Tiny', '"name": "Tony'),
    "an unknown field": ("submission.json", r'"author"', '"autor": "x", "author"'),
    "the bytes": ("submission.json", r'"bytes_total": \d', '"bytes_total": 1'),
    "the limits": ("submission.json", r'"train_within_600_s": true', '"train_within_600_s": false'),
    "a number as text": ("submission.json", r'"val_loss": ([\d.]+)', r'"val_loss": "\1"'),
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_is_altered_is_found(copy: Path, what: str) -> None:
    name, pattern, other = ALTERED[what]
    text, count = re.subn(pattern, other, (copy / name).read_text(), count=1)
    assert count == 1
    (copy / name).write_text(text)
    assert failures(copy)


def test_any_byte_of_source_or_script_breaks_the_tie(copy: Path) -> None:
    files = sorted(path for path in (copy / "source").rglob("*") if path.is_file())
    for path in [copy / "train_gpt.py", files[0], files[len(files) // 2], files[-1]]:
        before = path.read_bytes()
        at = len(before) // 2
        path.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
        assert any("byte for byte" in name for name in failures(copy)), path
        path.write_bytes(before)
    assert failures(copy) == []


def test_what_is_missing_or_too_much_is_found(copy: Path) -> None:
    (copy / "train_seed7.log").rename(copy / "train.log")
    assert len(failures(copy)) == 2
    (copy / "train.log").rename(copy / "train_seed7.log")
    (copy / "__pycache__").mkdir()
    assert len(failures(copy)) == 1


def test_a_seed_is_left_out_with_a_reason_or_not_at_all(shop: Path) -> None:
    two = [shop / "runs" / f"seed-{seed}" for seed in SEEDS[:2]]
    refused = call("record", *two, *CREDITS, "--out", shop / "other")
    assert refused.code == 2
    assert "seed-1337" in refused.err
    assert not (shop / "other").exists()
    why = "seed-1337=the machine was shared"
    made = done("record", *two, *CREDITS, "--out", shop / "other", "--leave-out", why, "--json")
    assert result(made)["bytegolf"]["left_out"] == {"seed-1337": "the machine was shared"}
    readme = (Path(result(made)["record"]) / "README.md").read_text()
    assert "left out: the machine was shared" in readme


def refused(answer: Answer, *words: str) -> None:
    assert answer.code == 2
    assert "Traceback" not in answer.err
    for word in words:
        assert word in answer.err


def test_what_cannot_be_a_record_is_refused_in_one_message(shop: Path, record: Path, tmp_path: Path) -> None:
    run = shop / "runs" / "seed-7"
    out = ("--out", tmp_path)
    refused(call("record", run, *out), "--title", "--author", "--github-id")
    refused(call("record", shop / "data", *CREDITS, *out), "finished run")
    refused(call("record", run, run, *CREDITS, *out), "a seed counts once")
    refused(call("record", "--check", tmp_path), "not the folder of a record")
    runs = [shop / "runs" / f"seed-{seed}" for seed in SEEDS]
    refused(call("record", *runs, *CREDITS, "--out", shop / "records"), "not overwritten")
    other = tmp_path / "runs" / "other"
    done(
        "train",
        shop / "tiny.toml",
        "--data",
        shop / "data",
        "--out",
        other,
        "-o",
        "train.clip=0.5",
        "--steps",
        3,
    )
    refused(call("record", run, other, *CREDITS, *out), "not packed")
    done("pack", other)
    refused(call("record", run, other, *CREDITS, *out), "no score")
    done("score", other / "model.golf", "--data", shop / "data", "--no-baselines")
    refused(call("record", run, other, *CREDITS, *out), "train.clip", "train.steps")
    assert not any(itertools.chain(tmp_path.glob("track_*"), tmp_path.glob(".*")))
