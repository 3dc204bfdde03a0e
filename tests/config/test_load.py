"""A config is data: what is loaded is what was written, overridden and checked, and an error names its key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf import registry
from bytegolf.config.load import dump_toml, load_config, parse_override, preset_names, to_tree, with_overrides
from bytegolf.config.load import resolve as resolve_tree
from bytegolf.config.schema import ROLES
from bytegolf.errors import ConfigError
from model_samples import OPTIONS
from tiny import BASE

finite = st.floats(1e-9, 1e9)
OVERRIDES: dict[str, st.SearchStrategy[Any]] = {
    "about": st.text("ab é€😀'\"\\#=[]{}\n\t\0\x7f\x85\u2028", max_size=20),
    "name": st.text("aZ0._-", max_size=20).map("x{}".format),
    "model.layers": st.integers(1, 1024),
    "model.context": st.integers(512, 4096),
    "model.embed.init_std": finite,
    "model.attention.kv_heads": st.sampled_from([1, 2, 4]),
    "model.attention.q_gain": st.floats(-1e9, 1e9),
    "train.seconds": finite,
    "train.steps": st.integers(1, 10**12),
    "train.tokens": st.integers(1, 10**12),
    "train.rows": st.integers(1, 1000),
    "train.seed": st.integers(0, 2**63 - 1),
    "train.compile": st.booleans(),
    "train.precision": st.sampled_from(["auto", "bf16", "fp32"]),
    "train.optimizers.matrix.lr": finite,
    "train.optimizers.matrix.momentum_warmup_steps": st.integers(0, 10**6),
    "train.optimizers.embed.eps": finite,
    "train.schedule.warmdown": st.floats(0, 0.9),
    "pack.budget": st.integers(0, 10**10),
    "pack.codecs.matrix": st.sampled_from(registry.names("codec")),
    "score.stride": st.integers(1, 512),
}
CHANGES = st.dictionaries(st.sampled_from(sorted(OVERRIDES)), st.none(), max_size=6).flatmap(
    lambda keys: st.fixed_dictionaries({key: OVERRIDES[key] for key in keys})
)


def as_override(key: str, value: object) -> str:
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    if isinstance(value, str):
        escaped = "".join(f"\\U{ord(character):08x}" for character in value)
        return f'{key}="{escaped}"'
    return f"{key}={value!r}"


def at(config: object, key: str) -> object:
    for part in key.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


@settings(max_examples=30)
@given(CHANGES)
def test_what_is_overridden_is_what_was_written_and_nothing_else_moves(changes: dict[str, Any]) -> None:
    base = to_tree(load_config(BASE))
    config = load_config(BASE, [as_override(key, value) for key, value in changes.items()])
    budgets = [key for key in changes if key in ("train.seconds", "train.steps", "train.tokens")]
    for key, value in changes.items():
        if key not in budgets[:-1]:
            assert at(config, key) == value
    expected = to_tree(config)
    for key in changes:
        *path, last = key.split(".")
        for tree in (base, expected):
            for part in path:
                tree = tree[part]
            tree.pop(last, None)
    if budgets:
        base["train"].pop("seconds", None)
    assert base == expected


@settings(max_examples=30)
@given(CHANGES)
def test_a_config_survives_its_tree_and_its_toml(changes: dict[str, Any]) -> None:
    config = load_config(BASE, [as_override(key, value) for key, value in changes.items()])
    assert resolve_tree(to_tree(config)) == config
    assert resolve_tree(tomllib.loads(dump_toml(config))) == config
    assert with_overrides(config, []) == config


@settings(max_examples=30)
@given(st.data())
def test_every_registered_variant_fits_its_slot_and_survives_the_toml(data: st.DataObject) -> None:
    slot = data.draw(st.sampled_from(["attention", "mlp", "plan", "head", "mixer"]))
    kind = data.draw(st.sampled_from(registry.names(slot)))
    options = ", ".join(
        as_override(k, v) for k, v in {"kind": kind, **data.draw(OPTIONS[slot][kind])}.items()
    )
    key = {"mixer": "model.embed.mixers"}.get(slot, f"model.{slot}")
    table = f"[{{{options}}}]" if slot == "mixer" else f"{{{options}}}"
    config = load_config(BASE, [f"{key}={table}"])
    assert resolve_tree(tomllib.loads(dump_toml(config))) == config
    placed = config.model.embed.mixers[0] if slot == "mixer" else getattr(config.model, slot)
    assert type(placed) is registry.lookup(slot, kind)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_under_its_own_name(name: str) -> None:
    assert load_config(name).name == name


def test_a_later_budget_replaces_an_earlier_one_wherever_it_comes_from() -> None:
    for key, value in {"seconds": 5.0, "steps": 7, "tokens": 900}.items():
        train = load_config(BASE, ["train.steps=1", "train.tokens=2", f"train.{key}={value}"]).train
        assert {k: getattr(train, k) for k in ("seconds", "steps", "tokens") if getattr(train, k)} == {
            key: value
        }
    again = with_overrides(load_config(BASE, ["train.steps=3"]), ["train.seconds=4"]).train
    assert (again.steps, again.seconds) == (None, 4.0)


def test_another_kind_replaces_its_table_and_the_same_kind_merges_into_it() -> None:
    base = "train.optimizers.embed"
    config = load_config(BASE, [base + ".betas=[0.8, 0.9]", base + ".lr=0.5"])
    assert (config.train.optimizers["embed"].betas, config.train.optimizers["embed"].lr) == ((0.8, 0.9), 0.5)
    muon = with_overrides(config, [base + '={kind="muon", lr=0.1}']).train.optimizers["embed"]
    assert muon.kind == "muon"
    with pytest.raises(ConfigError, match=r"train\.optimizers\.embed\.lr: is required"):
        with_overrides(config, [base + ".kind=muon"])
    averaged = load_config(BASE, ["train.averaging.kind=ema", "train.averaging.decay=0.9"])
    assert averaged.train.averaging.decay == 0.9
    assert with_overrides(averaged, ["train.averaging.kind=none"]).train.averaging.kind == "none"


def test_changing_the_codec_of_one_role_leaves_the_others_as_they_are() -> None:
    before = load_config(BASE).pack.codecs
    after = load_config(BASE, ["pack.codecs.matrix=int5"]).pack.codecs
    assert after == {**before, "matrix": "int5"}
    assert set(after) == set(ROLES)


def test_a_file_extends_a_preset_or_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "middle.toml").write_text('extends = "pocket"\nname = "middle"\n[model]\nlayers = 3\n')
    leaf = tmp_path / "sub" / "leaf.toml"
    leaf.write_text('extends = "../middle.toml"\nname = "leaf"\n[train]\nsteps = 9\n')
    config = load_config(str(leaf), ["model.layers=5"])
    pocket = load_config("pocket")
    assert (config.name, config.model.layers, config.train.steps, config.train.seconds) == (
        "leaf",
        5,
        9,
        None,
    )
    assert config.model == pocket.model.model_copy(update={"layers": 5})
    assert load_config(str(tmp_path / "middle.toml")).model.layers == 3


@pytest.mark.parametrize("spelled", ["b.toml", "./b.toml", "../{folder}/b.toml"])
def test_a_cycle_of_extends_is_named_however_the_paths_are_spelled(tmp_path: Path, spelled: str) -> None:
    (tmp_path / "a.toml").write_text(f'extends = "{spelled.format(folder=tmp_path.name)}"\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(ConfigError, match="cycle") as caught:
        load_config(str(tmp_path / "a.toml"))
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("text", ["train.steps", "=3", "train..steps=3", "", ".=1"])
def test_an_override_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="key=value"):
        parse_override(text)


@given(st.text(st.sampled_from("abc_"), min_size=1, max_size=5), st.integers(), st.booleans())
def test_an_override_is_a_toml_value_or_a_bare_word(key: str, number: int, flag: bool) -> None:
    assert parse_override(f"{key}.x={number}") == {key: {"x": number}}
    assert parse_override(f"{key}={str(flag).lower()}") == {key: flag}
    assert parse_override(f"{key}=bf16") == {key: "bf16"}
    assert parse_override(f"{key}=[1, 2]") == {key: [1, 2]}
    assert parse_override(f'{key}="a=b"') == {key: "a=b"}
