"""presets list, show and diff: what a preset sets, and where each value comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bytegolf.config.load import load_config, preset_names, resolve
from cli_samples import Lab, call


def answer(*words: object) -> dict[str, Any]:
    result = call(*words, "--json")
    assert (result.code, len(result.out.splitlines())) == (0, 1), result.err
    parsed: dict[str, Any] = json.loads(result.out)
    return parsed


def test_every_preset_is_listed_with_its_parameters() -> None:
    listed = {row["name"]: row["parameters"] for row in answer("presets", "list")["presets"]}
    assert list(listed) == preset_names()
    text = call("presets", "list").out
    for name, parameters in listed.items():
        assert name in text
        assert f"{parameters:,}" in text


@pytest.mark.parametrize("name", preset_names())
def test_show_gives_a_config_that_is_the_preset(name: str) -> None:
    shown = answer("presets", "show", name)
    assert resolve(shown["config"]) == load_config(name)
    assert sum(shown["parameters_by_role"].values()) == shown["parameters"]
    assert set(shown["dead_parameters"].values()) <= {262_144, 65_536, 524_288, 53_248, 1}


def test_every_value_names_the_file_that_set_it() -> None:
    settings = answer("presets", "show", "pr162-bigram-swa-as-published", "-o", "train.clip=1")["settings"]
    origins = {key: setting["from"] for key, setting in settings.items()}
    assert origins["model.dim"] == "baseline"
    assert origins["model.mlp.hidden"] == "pr102-int6-smear"
    assert origins["train.averaging.below"] == "pr162-bigram-swa"
    assert origins["model.embed.mixers.0.stop_at_bos"] == "pr162-bigram-swa-as-published"
    assert origins["model.embed.mixers.0.scale"] == "default"
    assert origins["pack.codecs.gate"] == "default"
    assert origins["train.clip"] == "-o"
    assert settings["train.clip"]["value"] == 1.0


def test_a_file_of_the_users_is_named_by_its_path(here: Path) -> None:
    Path("mine.toml").write_text('extends = "pocket"\nname = "mine"\n[model]\ndim = 64\n')
    settings = answer("presets", "show", "mine.toml")["settings"]
    assert settings["model.dim"] == {"value": 64, "from": "mine.toml"}
    assert settings["model.layers"]["from"] == "pocket"


def test_a_shrunk_preset_says_which_values_are_not_its_own() -> None:
    settings = answer("presets", "show", "pr354-mla", "--shrink", "-o", "train.steps=7")["settings"]
    assert settings["model.attention.kv_rank"] == {"value": 16, "from": "--shrink or -o"}
    assert settings["train.steps"] == {"value": 7, "from": "--shrink or -o"}
    assert settings["model.layers"] == {"value": 13, "from": "pr354-mla"}


def test_diff_shows_what_differs_after_extends_and_defaults() -> None:
    differences = answer("presets", "diff", "pr162-bigram-swa", "pr162-bigram-swa-as-published")[
        "differences"
    ]
    assert differences == {
        "model.embed.mixers.0.stop_at_bos": {"a": True, "b": False},
        "model.embed.mixers.1.stop_at_bos": {"a": True, "b": False},
        "pack.codecs.table": {"a": "int8", "b": "int8_clip_floor"},
        "train.order": {"a": "strided", "b": "published"},
    }


def test_two_names_of_one_system_do_not_differ(here: Path) -> None:
    Path("twin.toml").write_text(
        'extends = "pocket"\nname = "twin"\nabout = "the same"\n[train]\nclip = 1.0\n'
    )
    assert answer("presets", "diff", "pocket", "twin.toml")["differences"] == {}
    assert "do not differ" in call("presets", "diff", "pocket", "twin.toml").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "pr162"], "did you mean 'pr162-bigram-swa"),
        (["show", "pocket", "-o", "pack.overrides=[{part='mpl',codec='int5'}]"], "did you mean 'mlp'"),
        (["diff", "pocket", "pockett"], "did you mean 'pocket'"),
    ],
)
def test_mistakes_get_one_error_and_print_nothing_else(words: list[str], message: str) -> None:
    result = call("presets", *words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_train_takes_a_shrunk_preset(lab: Lab, here: Path) -> None:
    words = (
        "-o",
        "model.vocab_size=300",
        "-o",
        "model.context=32",
        "-o",
        "train.rows=2",
        "-o",
        "score.stride=32",
    )
    done = call(
        "train", "pr102-int6-smear", "--shrink", "--steps", 2, "--data", lab.data, "--out", "run", *words
    )
    assert done.code == 0, done.err
    assert "trained 2 steps" in done.out
    assert call("pack", "run").code == 0
