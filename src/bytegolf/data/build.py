"""From a source to a dataset folder: split, tokenizer, shards, manifest. All of it or nothing.

Worker processes read the source chunk by chunk, keep the held-out documents apart and bring the others into the
order of training. In those they look for shingles of the held-out ones. Then they encode, bucket by bucket of
that order.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import bytegolf
from bytegolf import registry
from bytegolf.data.corpora import Corpus, Document
from bytegolf.data.dataset import Dataset, open_dataset
from bytegolf.data.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    MovedEntry,
    ShardEntry,
    SplitEntry,
    Splits,
    TokenizerEntry,
)
from bytegolf.data.pool import Pool, cores, pool
from bytegolf.data.shards import MAX_TOKENS, ShardWriter
from bytegolf.data.shingles import NEAR_DUPLICATE_SHARE, SHINGLE_BYTES, Shingles
from bytegolf.data.source import CorpusSource, HindranceError, Source, empty
from bytegolf.data.spill import buckets_for, read_bucket, write_spill
from bytegolf.data.split import HELD_OUT_ONE_IN, HeldOut, few_groups, settle
from bytegolf.data.stages import Encode, Groups, Scan, Sift, load_learner, spill
from bytegolf.data.tokenizer import Ids, Learner
from bytegolf.data.work import Work, check_disk, check_target, put_in_place, work_folder, working
from bytegolf.errors import DataError
from bytegolf.files import write_atomically

TOKENIZER_FILE = "tokenizer.bin"
SHARD_TOKENS = 100_000_000
HELD_OUT_BYTES = 8 << 20  # of a large source: of 96 MiB or more
LARGE_BYTES = HELD_OUT_ONE_IN * HELD_OUT_BYTES
LEARNT_BYTES = 16 << 20  # of a large source: what the tokenizer is trained on

Progress = Callable[[str, int, int], None]  # stage, chunks or buckets done, in all


@dataclass(frozen=True)
class _Options:
    vocab_size: int
    tokenizer_kind: str
    shard_tokens: int


@dataclass(frozen=True)
class _Sides:
    """held_out: what stays held out, in order. moved: near duplicates. documents: of the whole source."""

    held_out: list[Document]
    moved: list[Document]
    documents: int


def build_dataset(
    source: Corpus | Source,
    folder: str | os.PathLike[str],
    vocab_size: int = 1024,
    *,
    tokenizer_kind: str = "bpe",
    shard_tokens: int = SHARD_TOKENS,
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Dataset:
    """Split `source`, train a tokenizer on the training side, and write both sides as token shards.

    Training documents are ordered by a hash of their name, so that neighbours are not of one package; held-out
    documents keep the order of the source. One group in 12 is held out, of 96 MiB and more about 8 MiB; of those,
    the tokenizer is trained on the first 16 MiB of the training side, below on all of it. The same source gives
    the same files for any number of `workers` (processes; by default one per core, and one for a single chunk).

    Everything is written beside `folder` and renamed at the end. What a killed or interrupted build has done of a
    source on disk is taken up by the next one with the same source, options and version; `tell` gets a line about
    it. `force` replaces a dataset that is there, and nothing but a dataset.
    Cost: about 0.25 s of processor time per MB of text; 0.3 GB of memory and 0.2 GB for each worker, whatever the
    size (documents of more than 16 MiB take ten times their size); three times the text on disk while it works,
    five times for tokenizers other than `bpe`.
    Raises DataError if the folder exists, the text cannot be split or tokenized, or the disk refuses, and
    WorkerError if a process dies.
    """
    folder = Path(os.path.abspath(folder))  # `.` has no name to put a temporary one beside
    options = _Options(vocab_size, tokenizer_kind, shard_tokens)
    report = progress or (lambda stage, done, total: None)
    if isinstance(source, Corpus):
        source = CorpusSource(source)
    try:
        check_target(folder, force)
        _check(options, workers)
        size, fingerprint = source.survey()
        if size == 0:
            raise empty(source, getattr(source, "path", None))
        with working(folder, source, _job(source, fingerprint, options), tell or (lambda line: None)) as work:
            chunks = work.plan()
            with pool(min(workers or cores(), chunks)) as crew:
                _Build(work, crew, options, size, chunks, report).run()
            put_in_place(work.out, folder)
    except OSError as error:
        begun = work_folder(folder)
        fix = f"what is built so far is in {begun}: the same command goes on" if begun.exists() else None
        rule = "the dataset must be writable"
        raise HindranceError(rule, got=str(error), where=str(folder), fix=fix) from error
    return open_dataset(folder)


@dataclass(frozen=True)
class _Build:
    work: Work
    pool: Pool
    options: _Options
    size: int
    chunks: int
    report: Progress

    def run(self) -> None:
        scan, documents = self._split()
        sides = self._sift(scan, documents)
        spills = tuple(spill(self.work.folder, n) for n in range(self.chunks + 1))
        learner, learnt = self._learn(spills, scan.buckets)
        splits = Splits(
            train=self._train(spills, scan.buckets, learner, sides), val=self._val(sides.held_out, learner)
        )
        manifest = self._manifest(sides, learner, splits, learnt)
        text = manifest.model_dump_json(indent=2) + "\n"
        write_atomically(self.work.out / MANIFEST, text.encode())

    def _split(self) -> tuple[Scan, int]:
        """The scan whose rule leaves no side empty, and the number of documents."""
        copies = 3 if self.options.tokenizer_kind == "bpe" else 5
        check_disk(self.work, copies * self.size)
        one_in = max(HELD_OUT_ONE_IN, -(-self.size // HELD_OUT_BYTES))
        buckets = buckets_for(self.size)
        scan = Scan(self.work.folder, HeldOut(one_in), buckets)
        documents, held = self._scanned(scan)
        if documents == 0:
            raise empty(self.work.source, getattr(self.work.source, "path", None))
        if held in (0, documents):
            groups = chain.from_iterable(self.pool.run(Groups(), enumerate(self.work.chunks())))
            scan = Scan(self.work.folder, HeldOut(one_in, few_groups(groups, one_in)), buckets, "rescan")
            self._scanned(scan)
        return scan, documents

    def _scanned(self, scan: Scan) -> tuple[int, int]:
        """Documents in all and held out."""
        self._over_chunks("split", scan, self.work.left(scan.file))
        found = [(count, len(held)) for count, held in map(scan.read, range(self.chunks))]
        return sum(count for count, _ in found), sum(held for _, held in found)

    def _sift(self, scan: Scan, documents: int) -> _Sides:
        """What stays held out and what is too near the training side for that, which gets a spill file too."""
        held = [document for n in range(self.chunks) for document in scan.read(n)[1]]
        texts = [document.data for document in held]
        shingles = Shingles(texts)
        lengths = tuple(wanted.length for wanted in shingles.wanted())
        sift = Sift(self.work.folder, scan.buckets, lengths)
        sift.save(shingles)
        left = (number for number in range(self.chunks) if not sift.file(number).exists())
        self._over_chunks("near duplicates", sift, left)
        for number in range(self.chunks):
            shingles.flag(sift.read(number))
        moving = settle(shingles, texts)
        moved = [held[i] for i in sorted(moving)]
        write_spill(spill(self.work.folder, self.chunks), moved, scan.buckets)
        return _Sides([d for i, d in enumerate(held) if i not in moving], moved, documents)

    def _learn(self, spills: tuple[Path, ...], buckets: int) -> tuple[Learner, int]:
        """The tokenizer, from an earlier build if it got so far, and the bytes it is trained on; 0: on all."""
        limit = LEARNT_BYTES if self.size >= LARGE_BYTES else None
        path = self.work.out / TOKENIZER_FILE
        if not path.exists():
            self.report("tokenizer", 0, 1)
            kind: type[Learner] = registry.lookup("tokenizer", self.options.tokenizer_kind)
            texts = chain.from_iterable(read_bucket(spills, bucket, buckets) for bucket in range(buckets))
            learner = kind.learn(_first(texts, limit), self.options.vocab_size)
            write_atomically(path, learner.to_bytes())
        return load_learner(path.read_bytes()), limit or 0

    def _train(self, spills: tuple[Path, ...], buckets: int, learner: Learner, sides: _Sides) -> SplitEntry:
        """Shards in the order of buckets, written while later buckets are encoded."""
        encode = Encode(self.work.folder, spills, buckets, learner.to_bytes())
        done = {bucket for bucket in range(buckets) if encode.file(bucket).exists()}
        left = [bucket for bucket in range(buckets) if bucket not in done]
        out = _SplitWriter(self.work, "train", self.options.shard_tokens)
        following = 0
        for bucket in chain([None], self.pool.run(encode, left)):
            done |= {bucket} - {None}
            self.report("encode train", len(done), buckets)
            while following in done:
                tokens, counts = encode.read(following)
                out.add(read_bucket(spills, following, buckets), tokens, counts)
                following += 1
        return out.entry(sides.documents - len(sides.held_out))

    def _val(self, held_out: list[Document], learner: Learner) -> SplitEntry:
        self.report("encode val", 0, 1)
        texts = [document.data for document in held_out]
        out = _SplitWriter(self.work, "val", self.options.shard_tokens)
        ids = learner.encode_documents(texts)
        out.add(texts, ids, learner.byte_counts(ids) if learner.transforms else None)
        return out.entry(len(held_out))

    def _over_chunks(self, name: str, stage: Scan | Sift, left: Iterable[Any]) -> None:
        done = sum(stage.file(number).exists() for number in range(self.chunks))
        self.report(name, done, self.chunks)
        for _ in self.pool.run(stage, left):
            done += 1
            self.report(name, done, self.chunks)

    def _manifest(self, sides: _Sides, learner: Learner, splits: Splits, learnt: int) -> Manifest:
        source = self.work.source.describe(sides.documents)
        if learnt:
            source += f"; the tokenizer is trained on the first {learnt >> 20} MiB of the training side"
        return Manifest(
            format=FORMAT,
            name=self.work.source.name,
            source=source,
            tool=f"bytegolf {bytegolf.__version__}",
            python=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
            tokenizer=TokenizerEntry(
                kind=learner.kind,
                vocab_size=learner.vocab_size,
                bos_id=learner.bos_id,
                sha256=learner.sha256,
                file=TOKENIZER_FILE,
            ),
            splits=splits,
            moved_near_duplicates=MovedEntry(
                documents=len(sides.moved),
                bytes=sum(len(document.data) for document in sides.moved),
                share=NEAR_DUPLICATE_SHARE,
                shingle=SHINGLE_BYTES,
            ),
        )


class _SplitWriter:
    """Shards of one side, of its byte counts too where there are some, and what the manifest says of them."""

    def __init__(self, work: Work, side: str, shard_tokens: int) -> None:
        stem = f"{work.source.name}_{side}"
        self._tokens = ShardWriter(work.out, stem, shard_tokens)
        self._counts = ShardWriter(work.out, f"{stem}_bytes", shard_tokens)
        self._digest = hashlib.sha256()
        self._bytes = 0

    def add(self, texts: Iterable[bytes], tokens: Ids, counts: Ids | None) -> None:
        """The next documents and all their tokens."""
        for text in texts:
            self._digest.update(text)
            self._bytes += len(text)
        self._tokens.add(tokens)
        if counts is not None:
            self._counts.add(counts)

    def entry(self, documents: int) -> SplitEntry:
        self._tokens.close()
        self._counts.close()
        files, counts = (
            tuple(
                ShardEntry(name=name, tokens=tokens, sha256=digest) for name, tokens, digest in writer.shards
            )
            for writer in (self._tokens, self._counts)
        )
        return SplitEntry(
            documents=documents,
            bytes=self._bytes,
            tokens=sum(shard.tokens for shard in files),
            sha256=self._digest.hexdigest(),
            files=files,
            byte_counts=counts,
        )


def _check(options: _Options, workers: int | None) -> None:
    """What can be said before any text is read."""
    if options.shard_tokens < 1:
        raise DataError(
            "a shard must hold at least one token", got=options.shard_tokens, where="shard_tokens"
        )
    if options.shard_tokens > MAX_TOKENS:
        raise DataError(
            f"a shard holds at most {MAX_TOKENS} tokens", got=options.shard_tokens, where="shard_tokens"
        )
    if workers is not None and workers < 1:
        raise DataError("a build takes at least one worker", got=workers, where="workers")
    kind: type[Learner] = registry.lookup("tokenizer", options.tokenizer_kind)
    kind.check_vocab_size(options.vocab_size)


def _job(source: Source, fingerprint: str, options: _Options) -> dict[str, object]:
    """What must be the same for a build to go on with what another one has done."""
    return {
        "format": FORMAT,
        "source": [source.kind, source.name, fingerprint],
        "options": [options.vocab_size, options.tokenizer_kind, options.shard_tokens],
        "versions": [bytegolf.__version__, platform.python_version()],
    }


def _first(texts: Iterator[bytes], limit: int | None) -> Iterator[bytes]:
    """Texts up to `limit` bytes in all, the one that goes beyond it cut off there."""
    for text in texts:
        yield text if limit is None else text[:limit]
        if limit is not None and (limit := limit - len(text)) <= 0:
            return
