"""train_gpt.py alone does what the package does, bit for bit, and its sources make it, byte for byte."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from challenge_parser import SEPARATOR, parse

from bytegolf.artifact.format import read, to_bytes, write
from bytegolf.cli.app import main
from bytegolf.config.load import load_config, preset_names, with_overrides
from bytegolf.config.schema import Config
from bytegolf.data.dataset import Dataset, open_dataset
from bytegolf.errors import RunError, UserError
from bytegolf.model.shrink import shrunk
from bytegolf.record.bundle import ABOUT, CONFIG, Bundle, bundle, bundle_of
from bytegolf.score.bpb import score
from bytegolf.score.held_out import HeldOut
from bytegolf.score.packed import load_packed
from bytegolf.train.export import export
from bytegolf.train.fit import fit
from cli_samples import VOCAB, write_source

PUBLISHED = 52_243  # bytes of the script of PR 162
STEPS = 4
# Small, exact, and with the parts of the system; validation, so that the log has a line of it.
SMALL = (
    f"train.steps={STEPS}",
    "train.rows=4",
    "train.precision=fp32",
    "train.validation={every=3, tokens=500}",
    "model.context=64",
    f"model.vocab_size={VOCAB}",
    "score.context=64",
    "score.stride=32",
)


def trial(name: str, *overrides: str) -> Config:
    return with_overrides(shrunk(load_config(name)), [*SMALL, *overrides])


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("bundle")
    write_source(root / "text", lines=12)
    built = ["data", "build", "--source", root / "text", "--out", root / "data", "--vocab", VOCAB]
    assert main([str(word) for word in built]) == 0
    return open_dataset(str(root / "data"))


@pytest.fixture(scope="session")
def whole() -> Bundle:
    return bundle(load_config("pr162-bigram-swa"), "bpe")


def run(folder: Path, code: bytes, *words: object, launcher: tuple[str, ...] = ()) -> str:
    """The script in a folder of its own, in a fresh process that cannot see where it was started."""
    folder.mkdir(exist_ok=True)
    (folder / "train_gpt.py").write_bytes(code)
    command = [sys.executable, *(launcher or ("-I",)), "train_gpt.py", *map(str, words)]
    alone = {"OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=alone)
    assert done.returncode == 0, done.stderr
    return done.stdout


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def untimed(path: Path) -> bytes:
    """The file, but for the seconds that training took, which are in its header."""
    artifact = read(path)
    return to_bytes(replace(artifact, provenance=dict(artifact.provenance) | {"seconds": 0}))


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names())
def test_alone_it_gets_the_losses_the_file_and_the_score_of_the_package(
    name: str, data: Dataset, tmp_path: Path
) -> None:
    config = trial(name)
    own = fit(config, data, tmp_path / "own", device="cpu")
    write(tmp_path / "own" / "model.golf", export(own, config))
    made = bundle(config, "bpe")
    output = run(tmp_path / "alone", made.code, "--data", data.folder, "--device", "cpu")
    alone = tmp_path / "alone" / "run"
    assert losses(alone) == losses(own.path)
    assert untimed(alone / "model.golf") == untimed(own.path / "model.golf")
    packed = load_packed(own.path / "model.golf", device="cpu")
    scored = score(packed.backend, HeldOut.of(data), config.resolved_score)
    log = parse(output)
    assert log["val_bpb"] == pytest.approx(scored.bpb, abs=6e-9)
    assert log["val_loss"] == pytest.approx(scored.nats_per_token, abs=6e-9)
    assert log["code_bytes"] == len(made.code)
    assert log["model_bytes"] == (alone / "model.golf").stat().st_size
    assert log["total_bytes"] == log["code_bytes"] + log["model_bytes"]
    assert list(log["train"].values()) == [round(loss, 4) for loss in losses(alone)]
    assert list(log["validation"]) == [3]
    assert (alone / "train.log").read_text() == output


@pytest.mark.slow
def test_no_installed_package_leaks_in(data: Dataset, tmp_path: Path) -> None:
    """A bytegolf on the path that would not even start is not touched."""
    decoy = tmp_path / "bytegolf"
    decoy.mkdir()
    (decoy / "__init__.py").write_text("raise SystemExit('the wrong package')")
    code = bundle(trial("pocket"), "bpe").code
    output = run(tmp_path, code, "--data", data.folder, "--steps", 2, "--seed", 0, launcher=("-B",))
    assert parse(output)["seed"] == 0
    assert len(parse(output)["train"]) == 2
    again = run(tmp_path, code, "score", "run/model.golf", "--data", data.folder, launcher=("-B",))
    assert parse(again)["val_bpb"] == parse(output)["val_bpb"]
    assert parse(f"val_bpb:9\n{SEPARATOR}\n{output}") == parse(output), "a header in front is skipped"


@pytest.mark.slow
def test_two_processes_of_torchrun_train_one_model(data: Dataset, tmp_path: Path) -> None:
    code = bundle(trial("pocket"), "bpe").code
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    two = run(tmp_path / "two", code, "--data", data.folder, "--device", "cpu", launcher=launcher)
    assert parse(two)["world_size"] == 2
    one = run(tmp_path / "one", code, "--data", data.folder, "--device", "cpu")
    assert parse(two)["train"] == pytest.approx(parse(one)["train"], abs=1e-4)


def test_what_is_wrong_is_one_message(tmp_path: Path, whole: Bundle) -> None:
    (tmp_path / "train_gpt.py").write_bytes(whole.code)
    command = [sys.executable, "-I", "train_gpt.py", "--data", "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_it_is_smaller_than_the_published_script(whole: Bundle) -> None:
    assert len(whole.code) < PUBLISHED
    assert whole.code.isascii()


def test_it_holds_the_modules_that_the_config_reaches_and_no_others(whole: Bundle) -> None:
    names = {name for name in whole.sources if name.endswith(".py")}
    assert {
        "bytegolf/on_torch/attention/gqa.py",
        "bytegolf/on_torch/mixers/bigram_hash.py",
        "bytegolf/model/components/smear_lerp.py",
    } <= names
    for foreign in (
        "mla",
        "adapted.py",
        "adaptive",
        "cli",
        "verify",
        "coding",
        "on_numpy",
        "sentencepiece",
        "recall",
        "build",
    ):
        assert not [name for name in names if foreign in name], foreign
    with_ttt = bundle(load_config("pr489-partial-rope-ttt"), "sentencepiece").sources
    assert {"bytegolf/score/adaptive.py", "bytegolf/data/sentencepiece.py"} <= set(with_ttt)


def test_the_same_sources_make_the_same_file(whole: Bundle) -> None:
    assert bundle_of(whole.sources) == whole.code
    assert bundle_of(dict(reversed(whole.sources.items()))) == whole.code
    script = (
        "from bytegolf.config.load import load_config; from bytegolf.record.bundle import bundle; import hashlib;"
        "print(hashlib.sha256(bundle(load_config('pr162-bigram-swa'), 'bpe').code).hexdigest())"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONHASHSEED": "7"}, timeout=120)
    assert done.stdout.strip() == hashlib.sha256(whole.code).hexdigest()


@pytest.mark.parametrize("name", [CONFIG, ABOUT, "bytegolf/record/loader.py", "bytegolf/on_torch/gpt.py"])
def test_any_changed_source_makes_another_file_or_none(whole: Bundle, name: str) -> None:
    text = whole.sources[name]
    for at in (0, len(text) // 2):
        changed = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        try:
            found = bundle_of(dict(whole.sources) | {name: changed})
        except UserError:
            continue
        assert found != whole.code


def test_a_folder_that_is_no_bundle_is_refused(whole: Bundle) -> None:
    missing = {name: text for name, text in whole.sources.items() if name != "bytegolf/registry.py"}
    idle = dict(whole.sources) | {"bytegolf/verify/battery.py": b"x = 1\n"}
    other = json.loads(whole.sources[ABOUT]) | {"python": "2.7"}
    for sources, why in (
        ({}, "a config and the modules"),
        (missing, "a config and the modules"),
        (idle, "does not need"),
        (dict(whole.sources) | {ABOUT: json.dumps(other).encode()}, "same tools"),
    ):
        with pytest.raises(RunError, match=why):
            bundle_of(sources)


def test_a_damaged_script_does_not_run(tmp_path: Path, whole: Bundle) -> None:
    at = whole.code.index(b"Inside(\n", 3000 - 1500) + 5000
    damaged = whole.code[:at] + (b"A" if whole.code[at : at + 1] != b"A" else b"B") + whole.code[at + 1 :]
    (tmp_path / "train_gpt.py").write_bytes(damaged)
    command = [sys.executable, "-I", "train_gpt.py", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "damaged or changed" in done.stderr


def test_unpacked_it_is_python_that_people_can_look_at(tmp_path: Path, whole: Bundle) -> None:
    """Without any library: -S leaves site-packages out."""
    output = run(tmp_path, whole.code, "unpack", "inside", launcher=("-I", "-S"))
    files = [path for path in (tmp_path / "inside").rglob("*") if path.is_file()]
    assert output.startswith(f"{len(files)} files")
    assert (tmp_path / "inside" / "config.toml").read_bytes() == whole.sources[CONFIG]
    for path in files:
        if path.suffix == ".py":
            ast.parse(path.read_text())


def test_its_modules_show_their_source_to_who_asks(tmp_path: Path, whole: Bundle) -> None:
    """As torch.compile and tracebacks do."""
    (tmp_path / "train_gpt.py").write_bytes(whole.code)
    script = (
        "import inspect, train_gpt; from bytegolf.record import unpack;"
        "print(inspect.getsource(unpack.main)[:8], unpack.__loader__ is train_gpt.INSIDE)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "def main True\n", done.stderr
