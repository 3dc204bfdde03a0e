"""`data build` of a user's text: its options reach the build, and Ctrl-C says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_samples import VOCAB, Lab, call, listing


def test_the_options_reach_the_build(lab: Lab, here: Path) -> None:
    words = ("data", "build", "--source", lab.source, "--out", "cut", "--vocab", VOCAB, "--json")
    answer = call(*words, "--shard-tokens", 20_000, "--workers", 1)
    assert answer.code == 0, answer.err
    files = json.loads(answer.out)["manifest"]["splits"]["train"]["files"]
    assert [shard["tokens"] for shard in files[:-1]] == [20_000] * (len(files) - 1)
    assert len(files) > 2
    for option in ("--shard-tokens", "--workers"):
        assert call(*words, option, 0).code == 2


def test_a_build_that_is_interrupted_says_that_it_goes_on(
    lab: Lab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    words = ("data", "build", "--source", lab.source, "--out", "out", "--vocab", VOCAB)
    with monkeypatch.context() as patch:
        patch.setattr("bytegolf.data.build.settle", interrupt)
        answer = call(*words)
    assert answer.code == 130
    assert "the same command goes on" in answer.err
    assert not Path("out").exists()
    answer = call(*words)
    assert answer.code == 0
    assert "going on with the build" in answer.err
    built = {Path(path).name: digest for path, digest in listing(Path("out")).items()}
    assert built == {Path(path).name: digest for path, digest in listing(lab.data).items()}
    assert not Path(".out.build").exists()
