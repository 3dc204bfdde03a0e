"""compress and decompress through the command line, with a real model: files, pipes, ranges, damage."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli_samples import VOCAB, Answer, Lab, call, listing

pytest.importorskip("bytegolf.coding.exact_coder")

TEXT = b"\n".join(b"%d sheep jump; \xff\x00 \xe2\x96\x81 %d are left\r" % (i, i * i) for i in range(56))
SHORT = TEXT[:250]
BLOCK = ("--block", 1024)


@pytest.fixture
def text(here: Path) -> Path:
    path = here / "text.bin"
    path.write_bytes(TEXT)
    return path


@pytest.fixture
def short(here: Path) -> Path:
    path = here / "text.bin"
    path.write_bytes(SHORT)
    return path


def done(*words: object) -> Answer:
    answer = call(*words)
    assert answer.code == 0, answer
    return answer


def refused(*words: object, says: str) -> str:
    """The one error of a command that must fail and leave the current folder as it is."""
    before = listing(Path.cwd())
    answer = call(*words)
    assert (answer.code, answer.out) == (2, ""), answer
    assert len(re.findall(r"^error: ", answer.err, re.MULTILINE | re.IGNORECASE)) == 1, answer.err
    assert "Traceback" not in answer.err
    assert re.search(says, answer.err), answer.err
    assert listing(Path.cwd()) == before
    return answer.err


def shell(*words: object, feed: bytes = b"", **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bytegolf", *map(str, words)]
    return subprocess.run(command, input=feed, capture_output=True, timeout=120, **options)


def test_a_file_comes_back_whatever_lanes_and_threads(lab: Lab, text: Path, here: Path) -> None:
    answer = done("compress", lab.artifact, text, *BLOCK, "--threads", 2, "--json")
    facts = json.loads(answer.out)
    stream = (here / "text.bin.golfz").read_bytes()
    assert facts["file_bytes"] == len(stream) == facts["payload_bytes"] + facts["framing_bytes"] < len(TEXT)
    assert (facts["raw_bytes"], facts["blocks"]) == (len(TEXT), -(-len(TEXT) // 1024))
    assert facts["bits_per_byte"] == 8 * len(stream) / len(TEXT)
    assert facts["threads"] == 2
    done("compress", lab.artifact, text, *BLOCK, "--threads", 1, "--lanes", 3, "-o", "again.golfz")
    assert (here / "again.golfz").read_bytes() == stream
    line = done("decompress", lab.artifact, "again.golfz", "--lanes", 2, "--threads", 1).out
    assert (here / "again").read_bytes() == TEXT
    assert re.search(
        rf"{len(TEXT):,} bytes, {len(stream):,} as .golfz, .* bits per byte; .* blocks, 0 stored", line
    )


@pytest.mark.parametrize("data", [b"", b"x", bytes(50)])
def test_small_files_come_back(lab: Lab, here: Path, data: bytes) -> None:
    (here / "a").write_bytes(data)
    done("compress", lab.artifact, "a", "--threads", 1)
    done("decompress", lab.artifact, "a.golfz", "--force", "--threads", 1, "--json")
    assert (here / "a").read_bytes() == data


def test_a_file_that_holds_its_model_needs_none(lab: Lab, short: Path, here: Path) -> None:
    done("compress", lab.artifact, short, "--embed-model", "--threads", 1)
    size, model = (here / "text.bin.golfz").stat().st_size, lab.artifact.stat().st_size
    answer = json.loads(done("decompress", "text.bin.golfz", "-o", "back", "--threads", 1, "--json").out)
    assert (answer["embedded_model_bytes"], answer["file_bytes"]) == (model, size - model)
    assert (here / "back").read_bytes() == SHORT
    done("compress", lab.artifact, short, "-o", "bare.golfz", "--threads", 1)
    err = refused("decompress", "bare.golfz", says="does not hold its model")
    assert "bytegolf decompress MODEL.golf bare.golfz" in err


def test_a_range_of_the_text(lab: Lab, text: Path, here: Path) -> None:
    done("compress", lab.artifact, text, *BLOCK)
    words = ("decompress", lab.artifact, "text.bin.golfz", "--threads", 1)
    answer = json.loads(done(*words, "--range", "1000:1100", "-o", "part", "--json").out)
    assert (here / "part").read_bytes() == TEXT[1000:1100]
    assert (answer["range"], answer["blocks"]) == ([1000, 1100], 2)
    done(*words, "--range", "7:7", "-o", "nothing")
    assert (here / "nothing").read_bytes() == b""
    refused(*words, "--range", "1000:1100", says="a name of its own")
    for wrong in ("5", "5:", "7:5", "-1:5", "a:b", "1:2:3"):
        refused(*words, "--range", wrong, "-o", "part2", says="START:END")
    refused(*words, "--range", f"0:{len(TEXT) + 1}", "-o", "part2", says="must lie inside the text")


def test_settings_go_with_the_file(lab: Lab, short: Path, here: Path) -> None:
    facts = json.loads(done("compress", lab.artifact, short, "--threads", 1, "--json").out)
    assert (facts["context"], facts["stride"]) == (32, 16)
    words = ("--context", 20, "--stride", 20, "-o", "other.golfz", "--json", "--threads", 1)
    facts = json.loads(done("compress", lab.artifact, short, *words).out)
    assert (facts["context"], facts["stride"]) == (20, 20)
    facts = json.loads(done("decompress", lab.artifact, "other.golfz", "--threads", 1, "--json").out)
    assert (facts["context"], facts["stride"]) == (20, 20)
    assert (here / "other").read_bytes() == SHORT


def test_compare_shows_other_compressors_and_what_the_model_weighs(lab: Lab, short: Path) -> None:
    answer = done("compress", lab.artifact, short, "--threads", 1, "--compare", "--json")
    facts = json.loads(answer.out)
    assert facts["compared"]["xz -9e"]["bytes"] > 0
    assert "zstd -22 + dictionary" not in facts["compared"]
    both = facts["file_bytes"] + facts["model_bytes"]
    assert re.search(rf"this file \+ model +{both:,} ", answer.err)


def test_pipes_in_both_directions_load_no_torch(lab: Lab, here: Path) -> None:
    packed = shell("compress", lab.artifact, "-", "-o", "-", *BLOCK, feed=TEXT)
    assert packed.returncode == 0, packed.stderr
    assert b"bits per byte" in packed.stderr
    back = shell("decompress", lab.artifact, "-", feed=packed.stdout)
    assert (back.returncode, back.stdout) == (0, TEXT)
    cut = shell("decompress", lab.artifact, "-", "--lanes", 1, "--threads", 1, feed=packed.stdout[:-1])
    assert cut.returncode == 2
    assert TEXT.startswith(cut.stdout)
    assert len(cut.stdout) == len(TEXT) // 2  # the first of two blocks
    assert b"truncated" in cut.stderr
    assert b"Traceback" not in cut.stderr
    check = (
        "import sys; from bytegolf.cli.app import main; "
        f"main(['compress', {str(lab.artifact)!r}, '-', '-o', 'x', '--threads', '1']); "
        "main(['decompress', '-o', 'y', sys.argv[1], 'x', '--threads', '1']); print('torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", check, lab.artifact], input=SHORT, capture_output=True, timeout=120
    )
    assert ran.stdout.endswith(b"False\n"), ran
    assert (here / "y").read_bytes() == SHORT


def test_damage_is_one_error_that_names_the_block(lab: Lab, text: Path, here: Path) -> None:
    done("compress", lab.artifact, text, *BLOCK)
    whole = (here / "text.bin.golfz").read_bytes()
    bad = here / "bad.golfz"
    words = ("decompress", lab.artifact, bad, "--threads", 1, "--lanes", 1)
    for place in [0, 3, 5, 13, 16, 18, 20, 22, 200, len(whole) - 9]:
        altered = bytearray(whole)
        altered[place] ^= 0x10
        bad.write_bytes(altered)
        err = refused(*words, says=r"error: (magic|version|header|block [1-9]|the end record)")
        assert "bad.golfz" in err
    for length in (0, 2, 10, 30):
        bad.write_bytes(whole[:length])
        refused(*words, says="truncated|an empty file")
    bad.write_bytes(whole + b"\0")
    refused(*words, says="other bytes follow")


def test_another_model_and_other_files_are_refused(lab: Lab, short: Path, here: Path) -> None:
    other = lab.artifact.with_name("other.golf")
    done("pack", lab.run, "--out", other, "-o", "pack.codecs.matrix=int5")
    done("compress", lab.artifact, short, "--threads", 1)
    stream = here / "text.bin.golfz"
    refused("decompress", other, stream, "-o", "x", says="compressed with another model")
    refused("decompress", stream, lab.artifact, "-o", "x", says="a .golf file.*\n.*MODEL, then INPUT")
    refused("decompress", lab.preset, stream, "-o", "x", says="not a .golf file")
    refused("decompress", lab.artifact, short, "-o", "x", says="not a .golfz file")
    refused("compress", stream, short, "-o", "x", says="not a .golf file")
    cut = here / "cut.golf"
    cut.write_bytes(lab.artifact.read_bytes()[:-1])
    refused("compress", cut, short, "-o", "x", says="length: the file is truncated")
    refused("decompress", cut, stream, "-o", "x", says="length: the file is truncated")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["compress", "MODEL", "nothing"], "input must be a readable file; got No such file"),
        (["compress", "MODEL", "folder"], "input must be a readable file; got Is a directory"),
        (["compress", "MODEL", "text.bin", "-o", "old"], "not overwritten.*\n.*--force"),
        (["compress", "MODEL", "text.bin", "-o", "folder"], "output must be a file; got a folder"),
        (
            ["compress", "MODEL", "text.bin", "-o", "text.bin", "--force"],
            "input and output must be different",
        ),
        (["compress", "MODEL", "text.bin", "-o", "no/such/x"], "No such file or directory"),
        (["compress", "MODEL", "text.bin", "--stride", "33"], "stride 33 is larger than the context 32"),
        (["compress", "MODEL", "text.bin", "--block", "1023"], "Invalid value for '--block'"),
        (["compress", "MODEL", "text.bin", "--lanes", "0"], "Invalid value for '--lanes'"),
        (["compress", "MODEL", "empty", "--compare"], "--compare needs a text"),
        (["compress", "MODEL", "-", "--compare", "-o", "x"], "--compare reads the input once more"),
        (["compress", "MODEL"], "Missing argument"),
        (["decompress", "MODEL", "text.bin"], "without .golfz.*\n.*-o"),
        (["decompress", "MODEL", "a", "b"], "MODEL and INPUT, or INPUT alone; got 3 files"),
        (["decompress"], "Missing argument"),
    ],
)
def test_mistakes(lab: Lab, short: Path, here: Path, words: list[str], says: str) -> None:
    (here / "folder").mkdir()
    (here / "old").write_text("precious")
    (here / "empty").touch()
    refused(*(lab.artifact if word == "MODEL" else word for word in words), says=says)


def test_stdout_is_for_the_bytes_or_for_the_json(lab: Lab, short: Path) -> None:
    answer = call("compress", lab.artifact, short, "-o", "-", "--json")
    assert answer.code == 2
    assert json.loads(answer.out)["error"]["got"] == "-o - and --json"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_no_bytes_for_a_terminal(lab: Lab, short: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "bytegolf", "compress", str(lab.artifact), str(short), "-o", "-"]
    ran = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, timeout=60)
    os.close(theirs)
    os.close(ours)
    assert ran.returncode == 2
    assert b"not for a terminal" in ran.stderr


def test_a_device_is_written_to_and_not_replaced(lab: Lab, short: Path) -> None:
    done("compress", lab.artifact, short, "-o", os.devnull, "--threads", 1)
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_compress_that_is_ended_leaves_no_output(lab: Lab, here: Path, how: signal.Signals) -> None:
    (here / "large").write_bytes(lab.artifact.read_bytes() * 100)
    command = [sys.executable, "-m", "bytegolf", "compress", str(lab.artifact), "large"]
    command += ["--block", "1024", "--lanes", "1", "--threads", "2"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in here.glob(".large.golfz.*.tmp")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -9)
    assert "Traceback" not in err
    assert not (here / "large.golfz").exists()
    assert how == signal.SIGKILL or [path.name for path in here.iterdir()] == ["large"]


def test_the_vocabulary_of_the_lab_is_the_model_that_codes(lab: Lab) -> None:
    """These tests mean a trained model, not bytes that are stored as they are."""
    from bytegolf.model_file import open_model

    assert open_model(lab.artifact).tokenizer.vocab_size == VOCAB
