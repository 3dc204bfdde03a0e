"""What a fetch refuses: exports, files, folders and hubs that are not as they should be."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import namedtuple
from pathlib import Path

import huggingface_hub.constants
import pytest
from fetch_samples import SHARDS, get, visible

from bytegolf.data.fetch import Wanted, fetch
from bytegolf.data.manifest import MANIFEST
from bytegolf.data.remote import Hub, HubFile, RemoteManifest, UnreachableError
from bytegolf.errors import DataError
from fakes.hub import FakeHub
from fakes.toy_fineweb import (
    REPO,
    change_manifest,
    header,
    shard_bytes,
    stream,
    toy_hub,
    train_model,
)


def broken(hub: FakeHub, kind: str) -> None:
    train, val = f"{SHARDS}train_000000.bin", f"{SHARDS}val_000001.bin"
    data = hub.files[train]
    changes = {
        "shorter": lambda: hub.sizes.update({train: len(data) + 2}),
        "longer": lambda: hub.sizes.update({val: 1500}),
        "sha256": lambda: hub.sha256s.update({train: "0" * 64}),
        "magic": lambda: hub.files.update({train: header(data, magic=1, count=1500)}),
        "count": lambda: hub.files.update({train: header(data, count=1499)}),
        "ids": lambda: hub.files.update({train: data[:-2] + b"\xff\xff"}),
        "no BOS": lambda: hub.files.update({train: shard_bytes(stream(60, 1)[1:1500])}),
        "tokens": lambda: hub.files.update({val: shard_bytes(stream(30, 2)[:-1])}),
        "documents": lambda: change_manifest(hub, docs_val=31),
        "missing": lambda: hub.missing.add(val),
        "vocabulary": lambda: change_manifest(hub, vocab_size=501),
        "bos": lambda: change_manifest(hub, bos_id=0),
        "path": lambda: change_manifest(hub, path="../../etc"),
        "absolute": lambda: change_manifest(hub, path="/etc"),
        "no stats": lambda: change_manifest(hub, files_val=0),
        "kind": lambda: change_manifest(hub, tokenizer_name="other"),
        "model": lambda: hub.files.update({"datasets/tokenizers/toy.model": b"nothing"}),
    }
    changes[kind]()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("shorter", "as the hub says"),
        ("longer", "must have 1,500 bytes, as the hub says"),
        ("sha256", "must have sha256 0000"),
        ("magic", "magic number"),
        ("count", "a shard of 1499 tokens"),
        ("ids", "below the vocabulary size"),
        ("no BOS", "must begin with BOS"),
        ("tokens", "validation tokens, as the manifest"),
        ("documents", "must have 31 validation documents"),
        ("missing", "got 1 missing, first datasets/datasets/fineweb10B_sp500/fineweb_val_000001.bin"),
        ("vocabulary", "must have 501 ids"),
        ("bos", "has BOS 1"),
        ("path", r"datasets\.0\.path"),
        ("absolute", r"datasets\.0\.path"),
        ("no stats", r"stats\.files_val"),
        ("kind", "SentencePiece model or the 260 ids"),
        ("model", "must be a SentencePiece model"),
    ],
)
def test_what_is_not_as_it_should_be_stops_the_fetch(
    hub: FakeHub, tmp_path: Path, kind: str, says: str
) -> None:
    broken(hub, kind)
    with pytest.raises(DataError, match=says):
        get(hub, tmp_path, 1)
    assert MANIFEST not in visible(tmp_path)
    if kind in {"magic", "ids", "count", "sha256", "shorter"}:
        assert not [name for name in visible(tmp_path) if "train_000000" in name]  # and no part to go on with


def test_an_unknown_variant_names_the_known_ones(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no variant 'byte260'(.|\n)*sp500"):
        fetch(Wanted(Hub(REPO, endpoint=hub.endpoint), "byte260", tmp_path, 1))
    assert visible(tmp_path) == set()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"repo": "someone/else"}, "no such dataset repository"),
        ({"repo": "no repo"}, "OWNER/NAME"),
        ({"revision": "v9"}, "no revision 'v9'"),
        ({"prefix": "other"}, "must be on the hub"),
    ],
)
def test_what_is_not_on_the_hub(hub: FakeHub, tmp_path: Path, change: dict[str, str], says: str) -> None:
    at = Hub(**({"repo": REPO, "endpoint": hub.endpoint} | change))
    with pytest.raises(DataError, match=says):
        fetch(Wanted(at, "sp500", tmp_path, 1))


def test_a_disk_without_room_stops_before_the_first_file(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 5000, 5000))
    with pytest.raises(DataError, match=r"must have room for 0\.00 GB; got 0\.00 GB free"):
        get(hub, tmp_path)
    assert hub.downloads() == ["datasets/manifest.json"]


def test_a_local_file_that_is_not_the_hubs_is_an_error_until_forced(hub: FakeHub, tmp_path: Path) -> None:
    whole = get(hub, tmp_path).dataset.manifest
    path = tmp_path / "fineweb_train_000000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"as the hub says(.|\n)*--force"):
        get(hub, tmp_path)
    assert get(hub, tmp_path, force=True).dataset.manifest == whole


def test_a_file_that_changed_on_the_hub_is_an_error_until_forced(hub: FakeHub, tmp_path: Path) -> None:
    name = f"{SHARDS}train_000001.bin"
    get(hub, tmp_path)
    hub.files[name] = shard_bytes(stream(60, 1)[1500:3000][::-1])  # of the same size
    with pytest.raises(DataError, match=r"must have sha256(.|\n)*--force"):
        get(hub, tmp_path)
    dataset = get(hub, tmp_path, force=True).dataset
    assert dataset.train_tokens()[1500:].tolist() == stream(60, 1)[1500:3000][::-1].tolist()
    dataset.verify()


def test_with_another_tokenizer_everything_is_counted_again(hub: FakeHub, tmp_path: Path) -> None:
    before = get(hub, tmp_path).dataset.manifest.splits
    hub.files["datasets/tokenizers/toy.model"] = train_model(True, 510)
    change_manifest(hub, vocab_size=510)
    dataset = get(hub, tmp_path, force=True).dataset
    splits = dataset.manifest.splits
    assert (splits.train.files, splits.val.files) == (before.train.files, before.val.files)
    assert splits.train.bytes != before.train.bytes
    assert splits.val.sha256 != before.val.sha256
    dataset.verify()


def test_other_contents_of_the_folder_are_not_overwritten(hub: FakeHub, tmp_path: Path) -> None:
    get(hub, tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_bytes())
    manifest["origin"]["variant"] = "sp8192"
    (tmp_path / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(DataError, match="overwrites no other"):
        get(hub, tmp_path)
    get(hub, tmp_path, force=True)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="a dataset is a folder"):
        get(hub, tmp_path / "file")


def away(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "offline":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    elif how == "nothing listens":
        hub.endpoint = "http://127.0.0.1:9"
    else:
        hub.status = 503


@pytest.mark.parametrize("how", ["offline", "nothing listens", "503"])
def test_a_hub_that_is_away(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Without a dataset it is an error; with just what is wanted, one line says what was not done."""
    manifest = get(hub, tmp_path, 2).dataset.manifest
    away(hub, monkeypatch, how)
    fetched = get(hub, tmp_path, 2)
    assert (fetched.dataset.manifest, fetched.files) == (manifest, 0)
    assert fetched.notice is not None
    assert fetched.notice.startswith("the manifest was not refreshed: ")
    for folder, shards in ((tmp_path / "new", 2), (tmp_path, 3), (tmp_path, 1)):
        with pytest.raises(UnreachableError):
            get(hub, folder, shards)
    assert not (tmp_path / "new").exists()
    (tmp_path / "fineweb_val_000000.bin").unlink()
    with pytest.raises(UnreachableError):
        get(hub, tmp_path, 2)


def test_names_in_a_manifest_that_are_no_plain_paths() -> None:
    for path in ("../x", "/x", "a//b", "a/../b", ".x/y", "a/", "", "a b"):
        with pytest.raises(ValueError, match="path"):
            RemoteManifest.model_validate({"datasets": [], "tokenizers": [{"name": "t", "model_path": path}]})


def test_small_files_are_checked_by_the_digest_of_git(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"hello")
    good = HubFile("x", 5, None, "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0")
    assert good.check(path) == hashlib.sha256(b"hello").hexdigest()
    with pytest.raises(DataError, match="git digest"):
        HubFile("x", 5, None, "0" * 40).check(path)


def test_padding_in_a_shard_without_byte_pieces_is_refused(tmp_path: Path) -> None:
    """It would turn the token behind it into a byte."""
    tokens = stream(60, 1, False).copy()
    tokens[700] = 0
    hub = toy_hub(byte_fallback=False)
    hub.files[f"{SHARDS}train_000000.bin"] = shard_bytes(tokens[:1500])
    with hub.serving(), pytest.raises(DataError, match="holds no padding; got id 0 at token 700"):
        get(hub, tmp_path, 1)


def test_the_first_error_stops_the_other_files(hub: FakeHub, tmp_path: Path) -> None:
    hub.sha256s[f"{SHARDS}val_000000.bin"] = "0" * 64
    with pytest.raises(DataError, match="must have sha256 0000"):
        get(hub, tmp_path, 3, workers=1)
    assert not [path for path in hub.downloads() if "train" in path]
