"""FineWeb from the hub: token shards of the challenge -> a dataset folder, checked against what is known of it.

The hub's manifest is read anew every time. A file comes under a hidden name, is checked (size, sha256, header,
ids) and renamed; manifest.json is written last. So a fetch that was cut goes on where it was, and a folder holds
either no manifest or one whose files are all there.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

import bytegolf
from bytegolf.data.dataset import Dataset, open_dataset
from bytegolf.data.fetched import inspect, split_entry, text_digest
from bytegolf.data.manifest import (
    FORMAT,
    MANIFEST,
    FetchedFile,
    Manifest,
    Origin,
    Splits,
    TokenizerEntry,
    read_manifest,
)
from bytegolf.data.remote import CancelledError, Hub, HubFile, RemoteDataset, RemoteManifest, UnreachableError
from bytegolf.data.sentencepiece import SentencePieceTokenizer
from bytegolf.errors import DataError
from bytegolf.files import write_atomically

TOKENIZER_FILE = "tokenizer.bin"
SOURCE_MANIFEST = "source_manifest.json"
DOCS = ("docs_selected.jsonl", "docs_selected.source_manifest.json")

Progress = Callable[[str, int, int], None]  # stage, bytes fetched, bytes in all


@dataclass(frozen=True)
class Wanted:
    """What to fetch and where to. train_shards: how many, from the first; docs: the raw documents too.

    force: replace another dataset, and files that are not as the hub has them.
    """

    hub: Hub
    variant: str
    folder: Path
    train_shards: int
    docs: bool = False
    workers: int = 4
    force: bool = False


@dataclass(frozen=True)
class Fetched:
    """files, bytes: what came over the network. notice: one line on what was not done."""

    dataset: Dataset
    files: int
    bytes: int
    notice: str | None = None


def fetch(wanted: Wanted, progress: Progress | None = None) -> Fetched:
    """Make `wanted.folder` a dataset of all validation shards and the first training shards of a variant.

    What is there already and as the hub has it is not fetched again; more training shards extend a dataset, fewer
    stay on disk unlisted. When the hub does not answer and all that is wanted is there, the dataset is opened as
    it is, with a notice. Cost: 200 MB and about 8 s of one core per full shard.
    Raises DataError: an unknown variant, more shards than there are, a file that is not as the hub or the manifest
    says, a folder with something else, too little room on the disk, a hub that does not answer.
    """
    earlier = _earlier(wanted)
    try:
        remote, blob, hub = wanted.hub.manifest()
    except UnreachableError as error:
        return Fetched(
            _as_it_is(wanted, earlier, error), 0, 0, f"the manifest was not refreshed: {error.got}"
        )
    dataset = remote.find(wanted.variant)
    _check_sizes(wanted, dataset)
    try:
        wanted.folder.mkdir(parents=True, exist_ok=True)
        job = _Job(wanted, hub, earlier, progress or (lambda stage, done, total: None))
        manifest = job.run(remote, dataset)
        write_atomically(wanted.folder / SOURCE_MANIFEST, blob)
        text = manifest.model_dump_json(indent=2) + "\n"
        write_atomically(wanted.folder / MANIFEST, text.encode())
    except OSError as error:
        raise DataError("the dataset must be writable", got=str(error), where=str(wanted.folder)) from error
    return Fetched(open_dataset(wanted.folder), job.files, job.bytes)


def _earlier(wanted: Wanted) -> Manifest | None:
    """What an earlier fetch of the same dataset left. Raises DataError if the folder holds something else."""
    folder = wanted.folder
    if folder.exists() and not folder.is_dir():
        raise DataError("a dataset is a folder", got=f"the file {folder}", where="--out")
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = read_manifest(folder)
    except DataError:
        if wanted.force:
            return None
        raise
    origin = manifest.origin
    here = origin and (origin.repo, origin.prefix, origin.variant)
    if here == (wanted.hub.repo, wanted.hub.prefix, wanted.variant):
        return manifest
    if not wanted.force:
        raise DataError(
            "a fetch extends a dataset of the same repository, prefix and variant, and overwrites no other",
            got=f"{manifest.name}, from {origin.repo if origin else manifest.source}",
            where=str(folder),
            fix="choose another --out, or pass --force to replace it",
        )
    return None


def _as_it_is(wanted: Wanted, earlier: Manifest | None, error: UnreachableError) -> Dataset:
    """The dataset of an earlier fetch when it is just what is wanted. Raises `error` otherwise."""
    origin = earlier.origin if earlier else None
    if earlier is None or origin is None or wanted.force or origin.revision != wanted.hub.revision:
        raise error
    there = {file.name: file.size for file in origin.files}
    needed = [shard.name for shard in earlier.splits.train.files + earlier.splits.val.files]
    needed += DOCS if wanted.docs else ()
    complete = all(_size(wanted.folder / name) == there.get(name, -1) for name in needed)
    if not complete or len(earlier.splits.train.files) != wanted.train_shards:
        raise error
    return open_dataset(wanted.folder)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _check_sizes(wanted: Wanted, dataset: RemoteDataset) -> None:
    if not 1 <= wanted.train_shards <= dataset.stats.files_train:
        raise DataError(
            f"{dataset.name} has {dataset.stats.files_train} training shards",
            got=f"{wanted.train_shards} asked for",
            where="--train-shards",
        )
    if dataset.bos_id != SentencePieceTokenizer.bos_id:
        raise DataError(
            f"a FineWeb export has BOS {SentencePieceTokenizer.bos_id}",
            got=dataset.bos_id,
            where=f"{dataset.name} in the manifest on the hub",
        )


@dataclass
class _Job:
    """One fetch on its way: what came, and who is told. known: the records of an earlier one, by name."""

    wanted: Wanted
    hub: Hub
    earlier: Manifest | None
    progress: Progress
    known: dict[str, FetchedFile] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    total: int = 0
    stop: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    def run(self, remote: RemoteManifest, dataset: RemoteDataset) -> Manifest:
        """Fetch and check everything; the manifest, not yet written."""
        model = remote.model_path(dataset)
        extra = [*([model] if model else []), *(DOCS if self.wanted.docs else ())]
        val = [dataset.shard("val", i) for i in range(dataset.stats.files_val)]
        train = [dataset.shard("train", i) for i in range(self.wanted.train_shards)]
        listed = self.hub.files([*extra, *val, *train])
        names = [_name(file) for file in listed.values()]
        if len({*names, MANIFEST, TOKENIZER_FILE, SOURCE_MANIFEST}) < len(names) + 3:
            raise DataError("the files of a manifest must have names of their own", got=", ".join(names[:4]))
        self._check_room(list(listed.values()))
        if self.earlier is not None and self.earlier.origin is not None:
            self.known = {file.name: file for file in self.earlier.origin.files}
        records = {path: self._one(listed[path], None) for path in extra}
        tokenizer = self._tokenizer(model, dataset)
        if self.earlier is not None and self.earlier.tokenizer.sha256 != tokenizer.sha256:
            self.known, self.earlier = {}, None  # what it counted was counted by other pieces
        records |= self._all({path: listed[path] for path in [*val, *train]}, tokenizer)
        self.progress("reading the validation text", self.bytes, self.total)
        splits = self._splits([records[path] for path in train], [records[path] for path in val], tokenizer)
        _check_stats(dataset, splits)
        return self._manifest(tokenizer, splits, [records[path] for path in listed])

    def _check_room(self, files: Sequence[HubFile]) -> None:
        """Sum up what is missing. Raises DataError if the disk has no room for it."""
        for file in files:
            if _size(self.wanted.folder / _name(file)) != file.size:
                self.total += file.size - (_size(self._part(file)) or 0)
        free = shutil.disk_usage(self.wanted.folder).free
        if self.total > free:
            raise DataError(
                f"the disk must have room for {self.total / 1e9:,.2f} GB",
                got=f"{free / 1e9:,.2f} GB free",
                where=str(self.wanted.folder),
                fix="fetch fewer --train-shards, or choose another --out",
            )

    def _part(self, file: HubFile) -> Path:
        return self.wanted.folder / f".{_name(file)}.{file.tag}.part"

    def _all(self, files: dict[str, HubFile], tokenizer: SentencePieceTokenizer) -> dict[str, FetchedFile]:
        """Several at a time. The first error stops the others, and so does Ctrl-C."""
        with ThreadPoolExecutor(max(1, self.wanted.workers)) as pool:
            futures = {path: pool.submit(self._one, file, tokenizer) for path, file in files.items()}
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
            finally:
                if any(not future.done() or future.exception() for future in futures.values()):
                    self.stop.set()
                    pool.shutdown(cancel_futures=True)
        broken = [f.exception() for f in futures.values() if f.done() and not f.cancelled()]
        for error in broken:
            if error is not None and not isinstance(error, CancelledError):
                raise error
        return {path: future.result() for path, future in futures.items()}

    def _one(self, file: HubFile, tokenizer: SentencePieceTokenizer | None) -> FetchedFile:
        """Fetch one file unless it is there; what it holds. Raises DataError, CancelledError, OSError."""
        path, part = self.wanted.folder / _name(file), self._part(file)
        if path.exists():
            try:
                return self._inspect(file, path, tokenizer)
            except DataError as error:
                if not self.wanted.force:
                    fix = "pass --force to fetch it again, or choose another --out"
                    raise DataError(error.rule, got=error.got, where=str(path), fix=fix) from error
        self.hub.download(file, part, lambda count: self._report(file, count), self.stop)
        try:
            record = self._inspect(file, part, tokenizer)
        except DataError as error:
            part.unlink()
            fix = "run the command again; if it stays so, the file on the hub is broken"
            raise DataError(error.rule, got=error.got, where=file.path, fix=fix) from error
        os.replace(part, path)
        for other in self.wanted.folder.glob(f".{path.name}.*.part"):
            other.unlink(missing_ok=True)
        with self.lock:
            self.files += 1
        return record

    def _inspect(self, file: HubFile, path: Path, tokenizer: SentencePieceTokenizer | None) -> FetchedFile:
        """The record of a file: that of an earlier fetch where name, size and sha256 are the same."""
        name = _name(file)
        record = self.known.get(name)
        final = path.name == name
        if final and record and _size(path) == record.size == file.size and record.sha256 == file.sha256:
            return record
        with self.lock:
            self.progress(f"checking {name}", self.bytes, max(self.total, self.bytes))
        digest = file.check(path)
        if tokenizer is not None:
            return inspect(path, name, digest, tokenizer)
        return FetchedFile(name=name, size=file.size, sha256=digest)

    def _report(self, file: HubFile, count: int) -> None:
        with self.lock:
            self.bytes += count
            self.progress(_name(file), self.bytes, max(self.total, self.bytes))

    def _tokenizer(self, model: str | None, dataset: RemoteDataset) -> SentencePieceTokenizer:
        """Read from the model, and written in the form that a dataset has it in."""
        if model is None:
            tokenizer = SentencePieceTokenizer.byte260()
        else:
            path = self.wanted.folder / model.rpartition("/")[2]
            tokenizer = SentencePieceTokenizer.from_model(path.read_bytes(), str(path))
        if tokenizer.vocab_size != dataset.vocab_size:
            raise DataError(
                f"the tokenizer must have {dataset.vocab_size} ids, as the manifest on the hub says",
                got=tokenizer.vocab_size,
                where=model,
            )
        return tokenizer

    def _splits(
        self, train: list[FetchedFile], val: list[FetchedFile], tokenizer: SentencePieceTokenizer
    ) -> Splits:
        folder = self.wanted.folder
        held_out = split_entry(folder, val, tokenizer)
        before = self.earlier.splits.val if self.earlier else None
        same = before is not None and before.files == held_out.files
        digest = before.sha256 if same and before else text_digest(folder, val, tokenizer)
        return Splits(
            train=split_entry(folder, train, tokenizer), val=held_out.model_copy(update={"sha256": digest})
        )

    def _manifest(
        self, tokenizer: SentencePieceTokenizer, splits: Splits, files: Sequence[FetchedFile]
    ) -> Manifest:
        """Files of an earlier fetch that this one does not list are kept on record while they are there."""
        wanted, listed = self.wanted, {file.name for file in files}
        others = [f for n, f in self.known.items() if n not in listed and _size(wanted.folder / n) == f.size]
        write_atomically(wanted.folder / TOKENIZER_FILE, tokenizer.to_bytes())
        return Manifest(
            format=FORMAT,
            name=f"fineweb-{wanted.variant}",
            source=f"{wanted.hub.repo} ({wanted.variant}) at {self.hub.revision}",
            tool=f"bytegolf {bytegolf.__version__}",
            python=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
            tokenizer=TokenizerEntry(
                kind=tokenizer.kind,
                vocab_size=tokenizer.vocab_size,
                bos_id=tokenizer.bos_id,
                sha256=tokenizer.sha256,
                file=TOKENIZER_FILE,
            ),
            splits=splits,
            moved_near_duplicates=None,
            origin=Origin(
                repo=wanted.hub.repo,
                revision=wanted.hub.revision,
                commit=self.hub.revision,
                prefix=wanted.hub.prefix,
                variant=wanted.variant,
                files=(*files, *others),
            ),
        )


def _name(file: HubFile) -> str:
    return file.path.rpartition("/")[2]


def _check_stats(dataset: RemoteDataset, splits: Splits) -> None:
    """Raises DataError unless there are as many tokens and documents as the hub's manifest says."""
    stats = dataset.stats
    whole = len(splits.train.files) == stats.files_train
    told = [
        ("validation tokens", stats.tokens_val, splits.val.tokens),
        ("validation documents", stats.docs_val, splits.val.documents),
        ("training tokens", stats.tokens_train if whole else None, splits.train.tokens),
    ]
    for what, expected, found in told:
        if expected not in (None, found):
            raise DataError(
                f"{dataset.name} must have {expected:,} {what}, as the manifest on the hub says",
                got=f"{found:,}",
                fix="this export and its manifest do not belong together; choose another --revision or --repo",
            )
