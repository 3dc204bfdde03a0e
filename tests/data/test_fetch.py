"""Fetching FineWeb: the real client against a hub on the loopback, which also misbehaves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from fetch_samples import SHARDS, get, visible
from sentencepiece import SentencePieceProcessor

from bytegolf.data import fetched, remote
from bytegolf.data.dataset import open_dataset
from bytegolf.data.fetch import Wanted, fetch
from bytegolf.data.manifest import MANIFEST
from bytegolf.data.remote import Hub, UnreachableError
from bytegolf.data.sentencepiece import SentencePieceTokenizer
from bytegolf.data.shards import write_shard
from bytegolf.errors import DataError
from fakes.hub import COMMIT, FakeHub
from fakes.toy_fineweb import (
    REPO,
    change_manifest,
    documents,
    normalised,
    shard_bytes,
    stream,
    toy_hub,
    train_model,
)


def test_a_fetched_folder_is_a_dataset_with_counted_and_recorded_files(hub: FakeHub, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    wanted = Wanted(Hub(REPO, endpoint=hub.endpoint), "sp500", tmp_path / "d", 3)
    fetched = fetch(wanted, lambda *step: steps.append(step))
    dataset = open_dataset(tmp_path / "d")
    assert fetched.dataset == dataset or fetched.dataset.manifest == dataset.manifest
    splits, origin = dataset.manifest.splits, dataset.manifest.origin
    assert dataset.train_tokens().tolist() == stream(60, 1).tolist()
    assert dataset.val_tokens().tolist() == stream(30, 2).tolist()
    text = "".join(map(normalised, documents(30, 2))).encode()
    assert dataset.text("val") == text
    assert (splits.val.bytes, splits.val.sha256) == (len(text), hashlib.sha256(text).hexdigest())
    assert (splits.val.documents, splits.train.documents) == (30, 60)
    assert splits.train.sha256 is None
    assert splits.train.bytes == len("".join(map(normalised, documents(60, 1))).encode())
    assert dataset.beginning("train", 99) == "".join(map(normalised, documents(60, 1))).encode()[:99]
    dataset.verify()
    assert origin is not None
    assert (origin.repo, origin.commit, origin.variant) == (REPO, COMMIT, "sp500")
    for file in origin.files:
        data = (tmp_path / "d" / file.name).read_bytes()
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert steps[-1][1] == steps[-1][2] == fetched.bytes == sum(file.size for file in origin.files)
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert not (tmp_path / "never").exists()


def test_a_second_run_fetches_the_manifest_and_nothing_else(hub: FakeHub, tmp_path: Path) -> None:
    first = get(hub, tmp_path)
    assert (first.files, first.notice) == (5, None)
    hub.forget()
    second = get(hub, tmp_path)
    assert hub.downloads() == ["datasets/manifest.json"]
    assert (second.files, second.bytes) == (0, 0)
    assert second.dataset.manifest == first.dataset.manifest


def test_files_without_a_record_are_checked_and_not_fetched(hub: FakeHub, tmp_path: Path) -> None:
    manifest = get(hub, tmp_path).dataset.manifest
    (tmp_path / MANIFEST).unlink()
    hub.forget()
    assert get(hub, tmp_path).dataset.manifest == manifest
    assert hub.downloads() == ["datasets/manifest.json"]


def test_more_shards_extend_a_dataset_and_fewer_stay_on_disk(hub: FakeHub, tmp_path: Path) -> None:
    get(hub, tmp_path, 1)
    hub.forget()
    three = get(hub, tmp_path, 3).dataset
    assert {Path(p).name for p in hub.downloads()} == {
        "manifest.json",
        "fineweb_train_000001.bin",
        "fineweb_train_000002.bin",
    }
    assert three.train_tokens().tolist() == stream(60, 1).tolist()
    hub.forget()
    two = get(hub, tmp_path, 2).dataset
    assert (len(two.manifest.splits.train.files), len(two.train_tokens())) == (2, 3000)
    assert "fineweb_train_000002.bin" in visible(tmp_path)
    assert get(hub, tmp_path, 3).dataset.manifest == three.manifest
    assert set(hub.downloads()) == {"datasets/manifest.json"}


def test_bytes_of_shards_that_cut_documents_add_up(hub: FakeHub, tmp_path: Path) -> None:
    """Each number of shards has the bytes that its tokens decode to."""
    for shards in (1, 2, 3):
        dataset = get(hub, tmp_path, shards).dataset
        decoded = dataset.tokenizer.decode(dataset.train_tokens())
        assert dataset.manifest.splits.train.bytes == len(decoded)
        assert int(dataset.byte_counts("train").sum()) == len(decoded)


@pytest.mark.parametrize("prefix", ["my/export", ""])
def test_documents_and_other_prefixes(tmp_path: Path, prefix: str) -> None:
    with toy_hub(prefix=prefix).serving() as hub:
        at = Hub(REPO, revision=COMMIT, prefix=prefix, endpoint=hub.endpoint)
        fetch(Wanted(at, "sp500", tmp_path, 1, docs=True))
    assert {"docs_selected.jsonl", "docs_selected.source_manifest.json"} <= visible(tmp_path)
    assert not [name for name in visible(tmp_path) if name.startswith(".")]


def test_the_manifest_is_read_anew(hub: FakeHub, tmp_path: Path) -> None:
    get(hub, tmp_path)
    change_manifest(hub, files_train=2, tokens_train=3000)
    with pytest.raises(DataError, match="has 2 training shards; got 3 asked for"):
        get(hub, tmp_path, 3)
    assert (
        json.loads((tmp_path / "source_manifest.json").read_bytes())["datasets"][0]["stats"]["files_train"]
        == 3
    )
    get(hub, tmp_path, 2)
    assert (tmp_path / "source_manifest.json").read_bytes() == hub.files["datasets/manifest.json"]


def test_a_cut_connection_goes_on_where_it_was(hub: FakeHub, tmp_path: Path) -> None:
    name = f"{SHARDS}train_000000.bin"
    hub.cuts[name] = [1000, 500, 0, 7]
    fetched = get(hub, tmp_path, 1)
    ranges = [asked for method, path, asked in hub.asked if (method, path) == ("GET", name)]
    assert ranges == [None, "bytes=1000-", "bytes=1500-", "bytes=1500-", "bytes=1507-"]
    assert (tmp_path / "fineweb_train_000000.bin").read_bytes() == hub.files[name]
    assert fetched.bytes == sum(file.size for file in fetched.dataset.manifest.origin.files)


def test_a_hub_that_knows_no_ranges_sends_the_file_again(hub: FakeHub, tmp_path: Path) -> None:
    name = f"{SHARDS}train_000000.bin"
    hub.ranges_work, hub.cuts[name] = False, [1000, 500]
    fetched = get(hub, tmp_path, 1)
    assert (tmp_path / "fineweb_train_000000.bin").read_bytes() == hub.files[name]
    assert fetched.bytes == sum(file.size for file in fetched.dataset.manifest.origin.files)


def test_a_hub_that_gives_up_leaves_what_the_next_run_goes_on_with(hub: FakeHub, tmp_path: Path) -> None:
    name = f"{SHARDS}train_000000.bin"
    hub.cuts[name] = [1000] + [0] * (remote.RETRIES + 1)
    with pytest.raises(UnreachableError, match="must answer"):
        get(hub, tmp_path, 1)
    assert MANIFEST not in visible(tmp_path)
    assert "fineweb_train_000000.bin" not in visible(tmp_path)
    hub.forget()
    get(hub, tmp_path, 1)
    assert ("GET", name, "bytes=1000-") in hub.asked
    assert not [name for name in visible(tmp_path) if name.startswith(".")]


def test_a_part_of_an_older_file_is_not_gone_on_with(hub: FakeHub, tmp_path: Path) -> None:
    name = f"{SHARDS}train_000000.bin"
    hub.cuts[name] = [1000] + [0] * (remote.RETRIES + 1)
    with pytest.raises(UnreachableError):
        get(hub, tmp_path, 1)
    hub.files[name] = shard_bytes(stream(60, 1)[:1400])
    get(hub, tmp_path, 1)
    assert (tmp_path / "fineweb_train_000000.bin").read_bytes() == hub.files[name]
    assert not [name for name in visible(tmp_path) if name.startswith(".")]


def test_an_export_of_bytes(tmp_path: Path) -> None:
    hub = toy_hub()
    text = "é, bytes".encode() * 300
    tokens = np.array([1, *(byte + 4 for byte in text)], np.uint16)
    base = "datasets/datasets/fineweb10B_byte260/fineweb_"
    hub.files |= {f"{base}{split}_000000.bin": shard_bytes(tokens) for split in ("train", "val")}
    row = {"name": "fineweb10B_byte260", "tokenizer_kind": "pure_byte", "vocab_size": 260, "bos_id": 1}
    manifest = {"datasets": [row | {"stats": {"files_train": 1, "files_val": 1}}]}
    hub.files["datasets/manifest.json"] = json.dumps(manifest).encode()
    with hub.serving():
        dataset = fetch(Wanted(Hub(REPO, endpoint=hub.endpoint), "byte260", tmp_path, 1)).dataset
    assert dataset.text("val") == text
    assert dataset.tokenizer.encode(text).tolist() == tokens[1:].tolist()


def test_the_model_that_was_fetched_is_the_librarys(hub: FakeHub, tmp_path: Path) -> None:
    dataset = get(hub, tmp_path).dataset
    model = SentencePieceProcessor(model_file=str(tmp_path / "toy.model"))
    for text in map(normalised, documents(30, 2)):
        assert dataset.tokenizer.encode(text.encode()).tolist() == model.encode(text)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_shards_are_counted_and_decoded_in_chunks(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    whole = get(hub, tmp_path).dataset.manifest
    monkeypatch.setattr(fetched, "_CHUNK_TOKENS", chunk)
    (tmp_path / MANIFEST).unlink()
    assert get(hub, tmp_path).dataset.manifest == whole


def test_bytes_of_two_shards_are_those_of_the_stream_wherever_it_is_cut(tmp_path: Path) -> None:
    tokenizer = SentencePieceTokenizer.from_model(train_model())
    tokens = stream(60, 1)[:40]
    for cut in range(1, 40):
        found = []
        for name, part in (("a.bin", tokens[:cut]), ("b.bin", tokens[cut:])):
            write_shard(tmp_path / name, part)
            found.append(fetched.inspect(tmp_path / name, name, "0" * 64, tokenizer))
        entry = fetched.split_entry(tmp_path, found, tokenizer)
        assert (entry.bytes, entry.tokens) == (len(tokenizer.decode(tokens)), 40)
