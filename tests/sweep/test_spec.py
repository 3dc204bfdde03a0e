"""A spec says the same every time, and what is wrong in it is said before the first run."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.config.load import load_config
from bytegolf.errors import ConfigError
from bytegolf.sweep.spec import Choices, Random, Range, Spec, read_spec
from bytegolf.sweep.trials import _draw, _draws, planned

BASE = Path(__file__).parents[1] / "base.toml"
LR, CLIP = "train.optimizers.matrix.lr", "train.clip"


def plan_of(**keys: Any) -> list[dict[str, Any]]:
    spec = Spec.model_validate({"base": str(BASE), **keys})
    return [setting.values for setting in planned(spec, Path("x.toml")).settings]


def spec_file(folder: Path, text: str) -> Path:
    path = folder / "lr.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_grid_is_the_base_and_every_combination_the_first_key_slowest() -> None:
    grid = {LR: [0.5, 0.6], CLIP: [0.25, 0.75]}
    assert plan_of(grid=grid) == [
        {},
        {LR: 0.5, CLIP: 0.25},
        {LR: 0.5, CLIP: 0.75},
        {LR: 0.6, CLIP: 0.25},
        {LR: 0.6, CLIP: 0.75},
    ]
    assert {} not in plan_of(grid=grid, include_base=False)
    assert plan_of() == [{}]


def test_what_the_base_has_anyway_is_not_run_twice() -> None:
    clip = load_config(str(BASE)).train.clip
    assert plan_of(grid={CLIP: [clip, clip + 0.5, clip]}) == [{CLIP: clip}, {CLIP: clip + 0.5}]


def test_runs_go_seed_by_seed_and_have_the_config_they_are_named_by(tmp_path: Path) -> None:
    path = spec_file(
        tmp_path,
        f'base = "{BASE}"\nseeds = [7, 3]\nbudget = {{ steps = 9 }}\n[overrides]\nmodel.dim = 32\n'
        f'[grid]\n"{CLIP}" = [0.25]\n',
    )
    spec = read_spec(path)
    runs = [(setting.values, setting.with_seed(seed)) for setting, seed in planned(spec, path).runs()]
    assert [config.train.seed for _, config in runs] == [7, 7, 3, 3]
    assert [config.train.clip for values, config in runs if values] == [0.25, 0.25]
    assert {(config.model.dim, config.train.steps, config.train.seconds) for _, config in runs} == {
        (32, 9, None)
    }
    assert spec.name == "lr"
    assert Spec(base="pocket", seeds=3).seed_list() == [1, 2, 3]


def test_dotted_keys_may_be_quoted_or_tables(tmp_path: Path) -> None:
    quoted = read_spec(
        spec_file(tmp_path, f'base="pocket"\n[random]\ntrials=2\n[random.keys."{LR}"]\nlow=1.0\nhigh=2.0')
    )
    tables = read_spec(
        spec_file(tmp_path, f'base="pocket"\n[random]\ntrials=2\n[random.keys]\n{LR} = {{low=1.0, high=2.0}}')
    )
    assert quoted == tables
    assert quoted.random is not None
    assert quoted.random.keys == {LR: Range(low=1.0, high=2.0)}
    whole = read_spec(
        spec_file(tmp_path, "base='pocket'\n[grid]\ntrain.averaging = [{kind='ema', decay=0.9}]")
    )
    assert whole.grid == {"train.averaging": ({"kind": "ema", "decay": 0.9},)}


@given(seed=st.integers(0, 99), trials=st.integers(1, 12), more=st.integers(1, 12))
def test_draws_are_the_same_every_time_and_more_trials_are_appended(
    seed: int, trials: int, more: int
) -> None:
    keys = {LR: {"low": 1e-3, "high": 1e-1, "log": True}, CLIP: {"choices": [0.0, 0.5, 1.0]}}
    backwards = dict(reversed(keys.items()))

    def drawn(n: int, keys: dict[str, Any]) -> list[dict[str, Any]]:
        return list(_draws(Random.model_validate({"trials": n, "seed": seed, "keys": keys})))

    first = drawn(trials, keys)
    assert drawn(trials, backwards) == first
    assert drawn(trials + more, keys)[: len(first)] == first


@given(
    share=st.floats(0, 1, exclude_max=True),
    low=st.integers(1, 50),
    size=st.integers(0, 50),
    log=st.booleans(),
)
def test_draws_stay_in_their_range(share: float, low: int, size: int, log: bool) -> None:
    whole = _draw(Range(low=low, high=low + size, log=log), share)
    assert isinstance(whole, int)
    assert low <= whole <= low + size
    real = _draw(Range(low=low / 7, high=(low + size) / 7, log=log), share)
    assert low / 7 <= real <= (low + size) / 7
    choices = tuple(range(size + 1))
    assert _draw(Choices(choices=choices), share) in choices


def test_draws_cover_their_range_evenly() -> None:
    shares = [i / 1000 for i in range(1000)]
    plain = [_draw(Range(low=1, high=4), share) for share in shares]
    assert [plain.count(value) for value in (1, 2, 3, 4)] == [250] * 4
    log = [_draw(Range(low=0.01, high=1.0, log=True), share) for share in shares]
    assert sum(value < 0.1 for value in log) == 500


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[grid]\ntrain.optimizers.matrix.lrr = [0.1]", ["lrr", "lr"]),
        ("[grid]\n\"train.optimizers.matrix.lr\" = [0.1, 0.2, 'fast']", ["train.optimizers.matrix", "fast"]),
        ("[overrides]\nmodel.dimm = 3", ["dimm", "dim"]),
        ("[random]\ntrials=2\n[random.keys.model.leyers]\nchoices=[1, 2]", ["leyers", "layers"]),
        ("[grid]\ntrain.seed = [1]", ["train.seed is what `seeds` sets"]),
        ("[gird]\nx = [1]", ["unknown key 'gird'", "grid"]),
        ("[random]\ntrial = 3\nkeys = {a = {choices = [1]}}", ["unknown key 'random.trial'", "trials"]),
        ("[random]\ntrials = 3\nkeys = {a = {low = 2, high = 1}}", ["low 2"]),
        ("[random]\ntrials = 3\nkeys = {a = {low = 0, high = 1, log = true}}", ["log = true needs low > 0"]),
        ("[grid]\na = [1]\n[random]\ntrials = 3\nkeys = {b = {choices = [1]}}", ["exclude each other"]),
        ("seeds = [1, 1]", ["seeds must differ"]),
        ("seeds = []", ["seeds"]),
        ("budget = {steps = 1, seconds = 2.0}", ["exactly one of seconds, steps, tokens"]),
        ("objective = 'loss'", ["objective"]),
        ("grid = ", ["not valid TOML"]),
    ],
)
def test_every_mistake_is_named(text: str, said: list[str], tmp_path: Path) -> None:
    path = spec_file(tmp_path, f'base = "{BASE}"\n{text}\n')
    with pytest.raises(ConfigError) as caught:
        planned(read_spec(path), path)
    for words in said:
        assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_spec_and_an_unknown_base_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the spec"):
        read_spec(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="unknown preset 'poket'") as caught:
        planned(Spec(base="poket"), tmp_path / "x.toml")
    assert "x.toml: base" in str(caught.value)


def test_paths_are_meant_from_the_file_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "pocket"\nname = "mine"\n')
    assert planned(Spec(base="mine.toml"), tmp_path / "x.toml").base.name == "mine"
    shrunk = planned(Spec(base="mine.toml", shrink=True), tmp_path / "x.toml").base
    assert (shrunk.train.steps, shrunk.pack.budget) == (50, 0)


def test_the_specs_of_the_docs_are_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?m)^    # \w+\.toml\n(?:(?:    .*)?\n)+", page)
    specs = [read_spec(spec_file(tmp_path, textwrap.dedent(block))) for block in blocks]
    assert [len(planned(spec, tmp_path / "x.toml").settings) for spec in specs] == [6, 13]
