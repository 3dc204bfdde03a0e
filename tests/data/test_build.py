"""A dataset folder: whole or not there, the same every time, and any damage is named."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_samples import corpus, documents

from bytegolf.data import build
from bytegolf.data.build import build_dataset
from bytegolf.data.corpora import Corpus, Document
from bytegolf.data.dataset import Dataset, locate_dataset, open_dataset
from bytegolf.data.manifest import read_manifest
from bytegolf.data.shards import write_shard
from bytegolf.data.split import split
from bytegolf.data.tokenizer import BpeTokenizer, ByteTokenizer
from bytegolf.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build_dataset(corpus(), tmp_path_factory.mktemp("built") / "sample", 400)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return build_dataset(corpus(), tmp_path / "sample", 257, tokenizer_kind="bytes")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_both_splits_decode_to_the_documents_of_the_corpus(built: Dataset):
    sides = split(corpus().documents)
    assert built.text("val") == b"".join(d.data for d in sides.held_out)
    found = [built.tokenizer.decode(tokens) for tokens in built.documents("train")]
    assert sorted(found) == sorted(d.data for d in sides.train)
    assert found != [d.data for d in sides.train]
    by_hash = sorted(sides.train, key=lambda d: hashlib.sha256(d.name.encode()).digest())
    assert found == [d.data for d in by_hash]
    assert built.text("train") == b"".join(found)


def test_every_document_starts_with_bos_and_has_no_other(built: Dataset):
    for side in ("train", "val"):
        for tokens in built.documents(side):
            assert tokens[0] == 0
            assert (tokens[1:] != 0).all()


def test_the_manifest_counts_what_is_there(built: Dataset):
    manifest = built.manifest
    for entry, tokens in (
        (manifest.splits.train, built.train_tokens()),
        (manifest.splits.val, built.val_tokens()),
    ):
        text = built.tokenizer.decode(tokens)
        assert entry.bytes == len(text) == built.tokenizer.token_bytes()[tokens].sum()
        assert entry.sha256 == hashlib.sha256(text).hexdigest()
        assert entry.tokens == len(tokens) == sum(shard.tokens for shard in entry.files)
        assert entry.documents == (tokens == 0).sum()
        for shard in entry.files:
            assert shard.sha256 == hashlib.sha256((built.folder / shard.name).read_bytes()).hexdigest()
    assert manifest.tokenizer.sha256 == built.tokenizer.sha256
    assert (manifest.name, manifest.source) == ("sample", "made for a test")
    assert manifest.python == platform.python_version()
    assert manifest.tool.startswith("bytegolf ")
    assert sorted(files(built.folder)) == [
        "manifest.json",
        "sample_train_000000.bin",
        "sample_val_000000.bin",
        "tokenizer.bin",
    ]


def test_the_tokenizer_has_seen_the_training_side_only(built: Dataset):
    train = [d.data for d in split(corpus().documents).train]
    assert built.tokenizer.to_bytes() == BpeTokenizer.learn(train, 400).to_bytes()


def test_building_twice_gives_the_same_files(built: Dataset, tmp_path: Path):
    again = build_dataset(corpus(), tmp_path / "again", 400)
    assert files(again.folder) == files(built.folder)


def test_moved_near_duplicates_are_counted(tmp_path: Path):
    plain = documents()
    held_out = {d.group for d in split(plain).held_out}
    group = min(held_out)
    trained = next(d for d in plain if d.group not in held_out)
    extended = [*plain, Document(f"{group}/copy", group, trained.data)]
    manifest = build_dataset(Corpus("c", extended, "c"), tmp_path / "c", 257, tokenizer_kind="bytes").manifest
    moved = manifest.moved_near_duplicates
    assert (moved.documents, moved.bytes, moved.share, moved.shingle) == (1, len(trained.data), 0.2, 50)


def test_many_shards_read_as_one_stream(built: Dataset, tmp_path: Path):
    cut = build_dataset(corpus(), tmp_path / "cut", 400, shard_tokens=1000)
    assert np.array_equal(cut.train_tokens(), built.train_tokens())
    assert cut.text("val") == built.text("val")
    assert len(cut.manifest.splits.train.files) == -(-len(built.train_tokens()) // 1000)
    cut.verify()


def test_progress_names_every_stage(tmp_path: Path):
    stages: list[str] = []
    build_dataset(
        corpus(),
        tmp_path / "d",
        257,
        tokenizer_kind="bytes",
        progress=lambda stage, done, total: stages.append(stage),
    )
    assert list(dict.fromkeys(stages)) == [
        "split",
        "near duplicates",
        "tokenizer",
        "encode train",
        "encode val",
    ]


def test_an_existing_folder_is_kept_unless_forced(dataset: Dataset):
    before = files(dataset.folder)
    with pytest.raises(DataError, match="--force"):
        build_dataset(corpus(), dataset.folder, 400)
    assert files(dataset.folder) == before
    assert build_dataset(corpus(), dataset.folder, 400, force=True).tokenizer.kind == "bpe"
    assert [path.name for path in dataset.folder.parent.iterdir()] == ["sample"]


def test_force_replaces_nothing_but_a_dataset(tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="nothing else"):
        build_dataset(corpus(), tmp_path / "home", 257, tokenizer_kind="bytes", force=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"vocab_size": 60_000}, DataError),
        ({"vocab_size": 400, "tokenizer_kind": "bpee"}, ConfigError),
        ({"vocab_size": 400, "tokenizer_kind": "bytes"}, DataError),
        ({"vocab_size": 400, "shard_tokens": 0}, DataError),
    ],
)
def test_a_build_that_fails_leaves_nothing(
    tmp_path: Path, arguments: dict[str, object], error: type[Exception]
):
    with pytest.raises(error):
        build_dataset(corpus(), tmp_path / "d", **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("force", [False, True])
def test_a_build_that_is_interrupted_leaves_what_was_there(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, failure: BaseException, force: bool
):
    def fail(*_: object) -> None:
        raise failure

    before = files(dataset.folder)
    monkeypatch.setattr(build.ShardWriter, "add", fail)
    target = dataset.folder if force else dataset.folder.with_name("other")
    expected = DataError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        build_dataset(corpus(), target, 400, force=force)
    assert [path.name for path in dataset.folder.parent.iterdir()] == ["sample"]
    assert files(dataset.folder) == before


def test_a_dataset_that_cannot_be_replaced_is_put_back(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    rename, before = Path.rename, files(dataset.folder)

    def fail_for_the_new(path: Path, target: Path) -> Path:
        if path.name.endswith(".tmp"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(DataError, match="Input/output error"):
        build_dataset(corpus(), dataset.folder, 400, force=True)
    assert files(dataset.folder) == before


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="writable"):
        build_dataset(corpus(), tmp_path / "file" / "d", 257, tokenizer_kind="bytes")


def damage_manifest(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return damage


def flip(name: str, at: int = 1030) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[at] ^= 1
        (folder / name).write_bytes(data)

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "bytegolf data build"),
    "half a manifest": (
        lambda f: (f / "manifest.json").write_bytes((f / "manifest.json").read_bytes()[:300]),
        "file that the build wrote",
    ),
    "unknown key": (damage_manifest(lambda m: m.update(extra=1)), "extra"),
    "other format": (damage_manifest(lambda m: m.update(format=2)), "format"),
    "path out of the folder": (
        damage_manifest(lambda m: m["tokenizer"].update(file="../tokenizer.bin")),
        "tokenizer.file",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.bin").unlink(), "tokenizer of the manifest"),
    "altered tokenizer": (flip("tokenizer.bin", 3), "tokenizer.bin must have sha256"),
    "other vocabulary": (
        damage_manifest(lambda m: m["tokenizer"].update(vocab_size=1024)),
        "tokenizer of 1024",
    ),
    "altered val shard": (flip("sample_val_000000.bin"), "sample_val_000000.bin must have sha256"),
    "altered train shard": (flip("sample_train_000000.bin"), "sample_train_000000.bin must have sha256"),
    "altered header": (flip("sample_val_000000.bin", 0), "magic"),
    "no val shard": (lambda f: (f / "sample_val_000000.bin").unlink(), "every shard"),
    "id beyond the vocabulary": (flip("sample_val_000000.bin", 1031), "vocabulary size 257"),
    "other token count": (
        damage_manifest(lambda m: m["splits"]["val"]["files"][0].update(tokens=7)),
        "must hold 7 tokens",
    ),
    "other byte count": (damage_manifest(lambda m: m["splits"]["val"].update(bytes=7)), "must have 7 bytes"),
    "other text": (
        damage_manifest(lambda m: m["splits"]["train"].update(sha256="0" * 64)),
        "train text must have",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_named(dataset: Dataset, name: str):
    damage, message = DAMAGES[name]
    open_dataset(dataset.folder).verify()
    damage(dataset.folder)
    with pytest.raises(DataError, match=message):
        open_dataset(dataset.folder).verify()


def test_held_out_tokens_are_verified_whenever_they_are_read(dataset: Dataset):
    flip("sample_val_000000.bin")(dataset.folder)
    with pytest.raises(DataError, match="sha256"):
        dataset.val_tokens()


def test_the_number_of_documents_is_checked(dataset: Dataset):
    damage_manifest(lambda m: m["splits"]["train"].update(documents=1))(dataset.folder)
    with pytest.raises(DataError, match="hold 1 of them"):
        open_dataset(dataset.folder).documents("train")


def test_tokens_before_the_first_bos_are_an_error(dataset: Dataset):
    tokens = dataset.train_tokens().copy()
    tokens[:2] = tokens[1], 0
    write_shard(dataset.folder / "sample_train_000000.bin", tokens)
    with pytest.raises(DataError, match="start with BOS"):
        dataset.documents("train")


def test_a_dataset_is_found_by_folder_or_by_corpus_name(dataset: Dataset, tmp_path: Path):
    assert locate_dataset(str(dataset.folder), 1024, tmp_path) == dataset.folder
    release = platform.python_version()
    assert locate_dataset("stdlib", 512, tmp_path) == tmp_path / "data" / f"stdlib-bpe512-py{release}"
    with pytest.raises(DataError, match="did you mean 'stdlib'"):
        locate_dataset("stdlb", 1024, tmp_path)
    with pytest.raises(DataError, match="--source"):
        locate_dataset(str(tmp_path), 1024, tmp_path)


def test_the_manifest_is_frozen_and_round_trips(dataset: Dataset):
    assert read_manifest(dataset.folder) == dataset.manifest
    with pytest.raises(ValueError, match="frozen"):
        dataset.manifest.name = "other"  # type: ignore[misc]
    assert isinstance(dataset.tokenizer, ByteTokenizer)
