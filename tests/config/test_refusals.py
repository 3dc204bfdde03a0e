"""Every bad input is a ConfigError that names its key, and the closest known name where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bytegolf.config.load import load_config, with_overrides
from bytegolf.errors import ConfigError
from tiny import BASE

CONFIG = load_config(BASE)

# override -> what the message must hold
REFUSED = {
    "trian.steps=5": ["trian", "did you mean 'train'"],
    "train.stpes=5": ["train.stpes", "'steps'"],
    "model.attention.head=4": ["model.attention.head", "'heads'"],
    "train.optimizers.matrix.momentun=0.9": ["train.optimizers.matrix.momentun", "'momentum'"],
    'train.averaging={kind="ema", decay=0.9, dekay=1}': ["train.averaging.dekay", "'decay'"],
    'model.embed.mixers=[{kind="bigram_hash", buckets=9, table_dimm=3}]': [
        "model.embed.mixers.0.table_dimm",
        "'table_dim'",
    ],
    "train.schedule.warm=0.1": ["train.schedule.warm", "'warmup'"],
    "train.optimizers.matrx.lr=1.0": ["train.optimizers.matrx"],
    "model.attention.heads=3": ["attention.heads 3", "model.dim 128"],
    "model.attention.kv_heads=3": ["attention.kv_heads 3", "attention.heads 4"],
    "model.attention.heads=128": ["even head size"],
    "model.attention.rope_dims=15": ["rope_dims", "even", "15"],
    "model.attention.rope_dims=34": ["rope_dims", "head size 32", "34"],
    "model.attention.kv_rank=3": ["model.attention.kv_rank", "kind of attention", "mla"],
    "model.mlp.window=3": ["model.mlp.window", "unknown key"],
    "model.attention={kind='mla', heads=4, kv_heads=2, kv_rank=0}": ["model.attention.kv_rank"],
    "model.attention={kind='mla', heads=4, kv_heads=3, kv_rank=8}": ["kv_heads 3", "heads 4"],
    "model.attention={kind='mla', heads=4, kv_heads=2}": ["model.attention.kv_rank: is required"],
    "model={vocab_size=60000, embed={mixers=[{kind='bigram_hash', buckets=9}]}}": ["59138", "60000"],
    "model.embed.mixers=[{kind='smear_lerp', multiplier=7}]": ["kind of mixer", "bigram_hash_prime"],
    "model.matrix_init={kind='orthogonal', gain='wide'}": ["model.matrix_init.gain", "wide"],
    "model.matrix_init.gain=2.0": ["model.matrix_init"],
    "train.micro_rows=3": ["micro_rows 3", "rows 4"],
    "train.averaging={kind='swa', below=0.5}": ["train.averaging.every: is required"],
    "train.schedule={kind='warmdown_steps', warmdown=0.5}": ["train.schedule.warmdown", "steps"],
    "pack.prune={share=1.0}": ["pack.prune.share"],
    "pack.overrides=[{part='mlp', codec='int7'}]": ["int7", "overrides.0"],
    "pack.overrides=[{part='mlp', codecs='int7'}]": ["pack.overrides.0.codecs", "'codec'"],
    "model.bos_id=1024": ["bos_id 1024"],
    "model.bos_id=-1": ["model.bos_id"],
    "model.vocab_size=1": ["model.vocab_size"],
    "model.vocab_size=65537": ["model.vocab_size"],
    "model.layers=0": ["model.layers"],
    "model.layers=2.5": ["model.layers"],
    "model.layers=many": ["model.layers", "many"],
    "model.mlp.hidden=0": ["model.mlp.hidden"],
    "model.mlp=5": ["model.mlp"],
    "model.mlp.kind=relu3": ["model.mlp", "relu3", "relu2"],
    "model.mlp.kind=[1]": ["model.mlp"],
    "model.embed.mixers=[{kind=[1]}]": ["model.embed.mixers.0"],
    "model.embed.mixers=[{buckets=3}]": ["model.embed.mixers.0"],
    "model.embed.mixers=smear_lerp": ["model.embed.mixers"],
    "model.attention.q_gain=inf": ["model.attention.q_gain"],
    "model.head.softcap=0": ["model.head.softcap"],
    "score.stride=513": ["stride", "512"],
    "score.stride=0": ["score.stride"],
    "pack.codecs.matrix=int7": ["codec", "int7", "matrix", "int6"],
    "pack.budget=-1": ["pack.budget"],
    "train.seconds=nan": ["train.seconds"],
    "train.seconds=0": ["train.seconds"],
    "train.steps=0": ["train.steps"],
    "train.seed=-1": ["train.seed"],
    "train.seed=18446744073709551616": ["train.seed"],
    "train.optimizers.embed.betas=[2.0, 0.5]": ["train.optimizers.embed.betas"],
    "train.optimizers.matrix.kind=muonn": ["train.optimizers.matrix", "muonn", "muon"],
    "train.averaging.kind=emaa": ["train.averaging", "emaa", "ema"],
    'train.averaging={kind="ema", decay=1.0}': ["train.averaging.decay"],
    "train.averaging.kind=ema": ["train.averaging.decay: is required"],
    "model.embed.mixers=[{kind='bigram_hash'}]": ["model.embed.mixers.0.buckets: is required"],
    "train.schedule={warmup=0.7, warmdown=0.6}": ["warmup", "warmdown"],
    "train.precision=fp16": ["train.precision"],
    "train=5": ["train"],
    "name=5": ["name"],
    'name="a/b"': ["name"],
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_bad_override_is_refused_by_the_name_of_its_key(override: str) -> None:
    for attempt in (lambda: load_config(BASE, [override]), lambda: with_overrides(CONFIG, [override])):
        with pytest.raises(ConfigError) as caught:
            attempt()
        for words in REFUSED[override]:
            assert words in str(caught.value)


def test_all_wrong_keys_come_in_one_message() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(BASE, ["model.dim=1", "train.rows=0", "score.strid=1"])
    for key in ("model.dim", "train.rows", "score.strid"):
        assert key in str(caught.value)


def test_a_file_with_two_budgets_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    text = Path(BASE).read_text(encoding="utf-8")
    for budget in ("seconds = 180\nsteps = 3", ""):
        path.write_text(text.replace("seconds = 180", budget))
        with pytest.raises(ConfigError, match=r"train: exactly one of seconds, steps, tokens"):
            load_config(str(path))


def test_a_missing_required_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "x"\n[model]\ndim = 8\n')
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    for key in ("model.vocab_size: is required", "train: is required", "score: is required"):
        assert key in str(caught.value)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pockett", r"unknown preset 'pockett'(.|\n)*did you mean 'pocket'"),
        ("", r"unknown preset ''(.|\n)*known: .*pocket"),
        ("no/such.toml", "cannot read the config file"),
        ("./pocket", "cannot read the config file"),
    ],
)
def test_a_source_that_is_not_there_is_refused(source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = [", "not valid TOML"),
        (b"\xff\xfe", "cannot read the config file"),
        (b"extends = 3", "extends must be"),
        (b'extends = "missing.toml"', "cannot read the config file"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(str(path))
    assert "broken.toml" in str(caught.value)
