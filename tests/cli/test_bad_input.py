"""What a user gets wrong: one error that says what to do, exit code 2, and not a byte written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli_samples import VOCAB, Answer, Lab, call, listing


def refused(lab: Lab, *words: object, says: str = "") -> Answer:
    """Run a command that must fail, inside the current folder; the text it prints must match `says`."""
    before = listing(lab.root, Path.cwd())
    answer = call(*words)
    assert answer.code == 2, answer
    assert answer.out == ""
    assert len(re.findall(r"^error: ", answer.err, re.MULTILINE | re.IGNORECASE)) == 1, answer.err
    assert "Traceback" not in answer.err
    assert re.search(says, answer.err), answer.err
    assert listing(lab.root, Path.cwd()) == before, "nothing may be written"
    return answer


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["poket"], "unknown preset 'poket'\n.*did you mean 'pocket'"),
        (["-o", "model.dimm=8"], "model.dimm: unknown key; did you mean 'dim'"),
        (["-o", "train.optimizers.matrix.momentun=0.9"], "did you mean 'momentum'"),
        (["-o", "model.dim=wide"], "model.dim: input should be a valid integer.*got 'wide'"),
        (["-o", "model.dim"], "an override reads key=value; got 'model.dim'"),
        (["-o", "train.rows=0"], r"train.rows: .*greater than or equal to 1"),
        (["-o", "model.attention={kind='gqb',heads=2}"], "needs a known kind, got 'gqb'"),
        (["-o", "pack.codecs.matrix=int7"], "unknown codec 'int7' for role matrix; known: .*int6"),
        (["-o", "score.stride=64"], "score.stride 64 is larger than the context 32"),
        (["-o", "train.steps=5", "-o", "train={seconds=1,steps=5}"], "exactly one of seconds, steps, tokens"),
        (["--seconds", "1", "--steps", "5"], "--seconds, --steps and --tokens exclude each other"),
        (["--seconds", "nan"], "train.seconds"),
        (["--steps", "many"], "Invalid value for '--steps'"),
        (["--step", "5"], "No such option.*--steps"),
        (["--device", "tpu"], "unknown device 'tpu'.*\n.*auto, cpu, cuda, mps"),
        (["--data", "stdlb"], "got 'stdlb'\n.*did you mean 'stdlib'"),
        (["--data", "x" * 300], "too long"),
        (["-o", f"model.vocab_size={VOCAB + 1}"], f"got {VOCAB + 1} entries.*\n.*vocab_size={VOCAB}"),
        (["-o", "model.context=1000000", "-o", "score.context=32"], "needs at least 1000001 tokens"),
    ],
)
def test_train_refuses(lab: Lab, here: Path, words: list[str], says: str) -> None:
    positional = [] if words == ["poket"] else [lab.preset]
    data = [] if "--data" in words else ["--data", lab.data]
    refused(lab, "train", *positional, *words, *data, "--out", "run", "--cache", "cache", says=says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read the config file"),
        (b"\x89GOLF\r\n\x1a\xff", "cannot read the config file"),
        (b"steps = = 3", "not valid TOML"),
        (b'extends = "poket"', "poket"),
        (b'extends = "mine.toml"', "cycle"),
        (b"[model]\ndim = 8", "is required"),
    ],
)
def test_a_config_file_that_is_none(lab: Lab, here: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (here / "mine.toml").write_bytes(content)
    refused(lab, "train", "mine.toml", "--data", lab.data, "--out", "run", says=says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["stdlb"], "did you mean 'stdlib'"),
        ([], "give the name of a corpus or --source"),
        (["stdlib", "--source", "text"], "one of them"),
        (["--source", "text"], "--source needs --out"),
        (["--source", "nothing", "--out", "new"], "the source must exist"),
        (["--source", "empty.txt", "--out", "new"], "must hold some text; got an empty file"),
        (["--source", "empty", "--out", "new"], "must hold some text; got an empty folder"),
        (["--source", "bad.jsonl", "--out", "new"], "field `text`.*\n?.*line 1"),
        (["--source", "text", "--out", "empty.txt/new"], "(?i)not a directory"),
        (["--source", "text", "--out", "text"], "does not overwrite"),
        (["--source", "text", "--out", "text", "--force"], "--force replaces a dataset and nothing else"),
        (["--source", "text", "--out", "new", "--vocab", "100"], "vocab_size must be in 257"),
        (["--source", "text", "--out", "new", "--vocab", "60000"], "enough for [0-9]+"),
        (["--source", "text", "--out", "new", "--tokenizer", "bep"], "did you mean 'bpe'"),
        (["--source", "text", "--out", "new", "--tokenizer", "bytes", "--vocab", "300"], "of 257; got 300"),
        (["stdlib", "--tokenizer", "bep", "--cache", "new"], "did you mean 'bpe'"),
    ],
)
def test_data_build_refuses(lab: Lab, here: Path, words: list[str], says: str) -> None:
    (here / "empty.txt").touch()
    (here / "empty").mkdir()
    (here / "bad.jsonl").write_text('{"txt": "a"}\n')
    shutil.copytree(lab.source, here / "text")
    refused(lab, "data", "build", *words, says=says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "not the directory of a finished run"),
        (["RUN", "-o", "train.steps=4"], "packing may change keys under pack only"),
        (["RUN", "-o", "pack.codecs.matrix=int9"], "unknown codec 'int9'"),
        (["RUN", "-o", "pack.codecs.matrx=int6"], "pack.codecs.matrx"),
        (["RUN", "--out", "no/such/folder/x.golf"], "could not be written; got No such file or directory"),
        (["RUN", "--out", "."], "--out names the file"),
    ],
)
def test_pack_refuses(lab: Lab, here: Path, words: list[str], says: str) -> None:
    refused(lab, "pack", *(lab.run if word == "RUN" else word for word in words), says=says)


@pytest.mark.parametrize("file", ["config.toml", "tokenizer.bin", "run.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_pack_refuses_a_damaged_run(lab: Lab, here: Path, file: str, damage: str) -> None:
    shutil.copytree(lab.run, here / "run")
    whole = (here / "run" / file).read_bytes()
    (here / "run" / file).write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "missing": b""}[damage])
    if damage == "missing":
        (here / "run" / file).unlink()
    refused(lab, "pack", "run")


def test_a_budget_too_small_says_by_how_much_and_names_changes_that_do_fit(lab: Lab, here: Path) -> None:
    size = lab.artifact.stat().st_size
    answer = refused(lab, "pack", lab.run, "--budget", size - 500, "--out", "new.golf", says="would fit")
    now = int(re.search(r"got ([\d,]+) bytes, ([\d,]+) too many", answer.err)[1].replace(",", ""))  # type: ignore[index]
    assert f"{now - size + 500:,} too many" in answer.err
    offers = re.findall(r"(-o \S+(?: -o \S+)*) gives ([\d,]+) bytes", answer.err)
    assert offers
    for change, promised in offers:
        packed = call("pack", lab.run, "--budget", size - 500, "--out", "new.golf", "--json", *change.split())
        assert packed.code == 0
        assert json.loads(packed.out)["total"] == int(promised.replace(",", "")) <= size - 500


def test_a_budget_out_of_reach_names_the_smallest_size(lab: Lab, here: Path) -> None:
    answer = refused(lab, "pack", lab.run, "--budget", 1000, says="smallest reachable is [0-9,]+ bytes")
    smallest = int(re.search(r"reachable is ([\d,]+)", answer.err)[1].replace(",", ""))  # type: ignore[index]
    changes = re.search(r"bytes \(([^)]+)\)", answer.err)[1].split()  # type: ignore[index]
    best = call("pack", lab.run, *changes, "--budget", smallest + 10, "--out", "small.golf")
    assert best.code == 0
    assert abs((here / "small.golf").stat().st_size - smallest) <= 10, "the budget's own digits aside"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["score", "nowhere.golf"], "must be a readable file"),
        (["score", "ARTIFACT", "--data", "stdlb"], "did you mean 'stdlib'"),
        (["score", "ARTIFACT", "--stride", "0"], "Invalid value for '--stride'"),
        (
            ["score", "ARTIFACT", "--stride", "33", "--no-baselines"],
            "stride 33 is larger than the context 32",
        ),
        (["score", "ARTIFACT", "--device", "tpu"], "unknown device 'tpu'"),
        (["generate", "ARTIFACT", "--temperature", "-1"], "Invalid value for '--temperature'"),
        (["generate", "ARTIFACT", "--top-p", "2"], "Invalid value for '--top-p'"),
        (["generate", "SOURCE"], "readable file; got Is a directory"),
        (["generate"], "Missing argument"),
        (["golf"], "No such command 'golf'"),
        (["demo", "--preset", "poket"], "did you mean 'pocket'"),
        (["demo", "--seconds", "0"], "Invalid value for '--seconds'"),
    ],
)
def test_other_commands_refuse(lab: Lab, here: Path, words: list[str], says: str) -> None:
    places: dict[str, object] = {"ARTIFACT": lab.artifact, "SOURCE": lab.source}
    data = ["--data", lab.data] if words[0] == "score" and "--data" not in words else []
    refused(lab, *(places.get(word, word) for word in words), *data, says=says)


def test_score_refuses_text_of_another_tokenizer(lab: Lab, here: Path) -> None:
    other = ("data", "build", "--source", lab.source, "--out", "other", "--vocab", VOCAB + 1)
    assert call(*other).code == 0
    refused(lab, "score", lab.artifact, "--data", "other", says="tokenizer inside the artifact")


def test_an_existing_run_is_safe_without_force_and_force_takes_runs_only(lab: Lab, here: Path) -> None:
    shutil.copytree(lab.run, here / "run")
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("years of work")
    words = ("train", lab.preset, "--data", lab.data, "--out")
    refused(lab, *words, "run", says="exists already.*\n.*--force")
    refused(lab, *words, "mine", says="no run is in the way")
    refused(lab, *words, "mine", "--force", says="no run is in the way")
    refused(lab, *words, "mine/thesis.txt", "--force", says="no run is in the way")


def test_a_place_that_cannot_be_written(lab: Lab, here: Path) -> None:
    (here / "file").write_text("not a folder")
    train = ("train", lab.preset, "--data", lab.data, "--out")
    refused(lab, *train, "file/run", says="cannot write the run: Not a directory.*\n.*--out")
    refused(lab, "pack", lab.run, "--out", "file/x.golf", says="Not a directory")
    named = ("train", lab.preset, "--cache", "file/cache", "--out", "run")
    refused(lab, *named, says="Not a directory")


def test_a_read_only_folder(lab: Lab, here: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes into read-only folders too")
    shutil.copytree(lab.run, here / "run")
    (here / "closed").mkdir(mode=0o555)
    (here / "run").chmod(0o555)
    train = ("train", lab.preset, "--data", lab.data, "--out")
    refused(lab, *train, "closed/run", says="Permission denied")
    refused(lab, "pack", "run", says="Permission denied")


FULL_DISK = """
import json, resource, sys
from cli_samples import call
for limit, words in json.loads(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    answer = call(*words)
    print(json.dumps([answer.code, answer.out, answer.err]))
"""


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_full_disk(lab: Lab, here: Path) -> None:
    """No file of the process may grow beyond a limit of bytes, which is how a disk says that it is full."""
    train = ["train", str(lab.preset), "--data", str(lab.data), "--out"]
    build = ["data", "build", "--source", str(lab.source), "--vocab", str(VOCAB), "--out", "data"]
    commands = [
        (3000, ["pack", str(lab.run), "--out", "x.golf"]),
        (3000, build),
        (200, [*train, "run"]),
        (20_000, [*train, "trained"]),  # enough for all but the weights
    ]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, json.dumps(commands)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(commands), done.stderr
    for code, out, err in answers:
        assert (code, out) == (2, "")
        assert err.count("error: ") == 1
        assert "File too large" in err
    # What a build has done of a source on disk waits for the same command, under a hidden name.
    found = {path.relative_to(here).as_posix() for path in here.rglob("*")}
    left = {path for path in found if path.split("/")[0] != ".data.build"}
    assert ".data.build" in found
    assert call(*build).code == 0, "a build goes on when there is room again"
    assert files_below(here / "data") == files_below(lab.data)
    log = {f"trained/{name}" for name in ("config.toml", "tokenizer.bin", "started.json", "metrics.jsonl")}
    ledger = {"ledger.jsonl", "trained/ledger.json"}
    assert left == {"trained"} | log | ledger, "only the log of a training that could not be saved is kept"


@pytest.mark.parametrize(
    "words",
    [["train", "poket"], ["train"], ["score", "nowhere.golf"], ["train", "pocket", "--data", "x" * 300]],
)
def test_with_json_an_error_is_one_object_too(here: Path, words: list[str]) -> None:
    answer = call(*words, "--json")
    assert answer.code == 2
    assert answer.out.count("\n") == 1
    error = json.loads(answer.out)["error"]
    assert error.keys() == {"rule", "got", "where", "fix"}
    assert error["rule"] in answer.err
