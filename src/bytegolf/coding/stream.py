"""Text -> .golfz and back: blocks of one size, coded side by side, written in order.

Memory: blocks in flight are at most lanes * threads, each with its text and its payload, and 2 MiB that were read
ahead (one block where it is larger), beside what the coders need. Nothing of it grows with the length of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise

from bytegolf.coding.block import Coded, StreamError, Text, even
from bytegolf.coding.container import (
    ARITHMETIC_BYTES,
    DEFAULT_BLOCK,
    MODEL_BYTES,
    Block,
    Header,
    Reader,
    Sink,
    Writer,
    check,
)
from bytegolf.coding.fields import Source
from bytegolf.coding.workers import Crew, Recipe, crew

# Gets the bytes of text that are done, in all; between blocks it is an estimate from the tokens.
Progress = Callable[[int], None]
_BYTES_PER_TOKEN = 3.0  # until a block is done and says better
_LANES = 16  # that short texts are cut for: two processes with eight lanes
_SHORT = DEFAULT_BLOCK // 2


@dataclass(frozen=True)
class Work:
    """lanes: blocks that a coder takes through the model together. threads: coders, each in its own process."""

    lanes: int = 8
    threads: int = 1

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.threads < 1:
            raise ValueError(f"work needs a lane and a thread, not {self}")

    @property
    def blocks(self) -> int:
        """Blocks in flight."""
        return self.lanes * self.threads


@dataclass(frozen=True)
class Summary:
    """What went through. raw: bytes of the blocks' text. file: bytes of .golfz, without an embedded model.

    payload: bytes of all payloads; the rest of the file is framing. stored: blocks that are stored as they
    are, stored_bytes: their bytes. tokens: of the others. bits: what these had to cost (when encoding).
    embedded: bytes of the model in the file. A range counts the blocks that it needed, whole, and the part of
    the file up to them.
    """

    raw: int
    file: int
    payload: int
    blocks: int
    stored: int
    stored_bytes: int
    tokens: int
    bits: float = 0.0
    embedded: int = 0

    @property
    def bits_per_byte(self) -> float | None:
        """8 file / raw, the framing included; None for no text."""
        return 8 * self.file / self.raw if self.raw else None


def compress(
    source: Source,
    sink: Sink,
    recipe: Recipe,
    *,
    block: int = DEFAULT_BLOCK,
    embed: bytes | None = None,
    work: Work = Work(),
    progress: Progress | None = None,
) -> Summary:
    """Write the .golfz file of all that `source` gives, front to back. Any bytes are text.

    embed: the .golf file itself, to travel along. The file depends on the bytes, the model, its settings and the
    block size; not on `work`. Raises what the coder raises, WorkerError, and OSError from reading and writing.
    """
    return _compress(cut_bytes(source, block), sink, recipe, block, embed, work, progress)


def compress_documents(
    documents: Iterable[bytes],
    sink: Sink,
    recipe: Recipe,
    *,
    block: int = DEFAULT_BLOCK,
    embed: bytes | None = None,
    work: Work = Work(),
    progress: Progress | None = None,
) -> Summary:
    """As `compress`, for the documents back to back; the coder is told where each begins.

    The file decompresses to the documents joined. Where they begin it does not say; an empty one leaves no trace.
    """
    return _compress(cut_documents(documents, block), sink, recipe, block, embed, work, progress)


def decompress(
    reader: Reader,
    sink: Sink,
    recipe: Recipe,
    *,
    work: Work = Work(),
    progress: Progress | None = None,
) -> Summary:
    """Write the text to `sink`, each block once its checksum fits.

    Raises StreamError that names what is wrong: another model, other arithmetic, or the first damaged block, after
    the good ones before it were written. Also what the coder raises, WorkerError and OSError.
    """
    return _decompress(reader, sink, recipe, 0, None, work, progress)


def decompress_range(
    reader: Reader,
    sink: Sink,
    recipe: Recipe,
    start: int,
    length: int | None = None,
    *,
    work: Work = Work(),
    progress: Progress | None = None,
) -> Summary:
    """Write bytes start .. start + length of the text, to its end without a length; decodes only their blocks.

    Blocks before are skipped, what comes after the last byte is not looked at. Raises as `decompress` does, and
    StreamError when the text ends before the range does.
    """
    if start < 0 or (length is not None and length < 0):
        raise ValueError(f"a range begins at 0 or later and has no negative length: {start}, {length}")
    return _decompress(reader, sink, recipe, start, length, work, progress)


def check_model(header: Header, model: bytes) -> None:
    """Raises StreamError unless the file was made with the .golf file of this sha256."""
    if model[:MODEL_BYTES] != header.model:
        raise StreamError(
            "the file was compressed with another model",
            got=f"a model of sha256 {model[:MODEL_BYTES].hex()}..., where it needs {header.model.hex()}...",
            fix="give the .golf file that it was compressed with, byte for byte",
        )


def _compress(
    texts: Iterator[Text],
    sink: Sink,
    recipe: Recipe,
    block: int,
    embed: bytes | None,
    work: Work,
    progress: Progress | None,
) -> Summary:
    marked = _with_last(texts)
    batch = list(islice(marked, work.blocks))
    tally, meter = _Tally(), _Meter(progress)
    with crew(recipe, min(work.threads, len(batch))) as coders:
        identity = coders.identity[:ARITHMETIC_BYTES]
        header = Header(recipe.model[:MODEL_BYTES], identity, recipe.context, recipe.stride, block, embed)
        writer = Writer(sink, header)
        while batch:
            meter.begin(sum(len(text.data) for text, _ in batch))
            results = coders.encode([text for text, _ in batch], meter.tokens)
            for (text, last), coded in zip(batch, results, strict=True):
                written = writer.add(text.data, coded, last)
                tally.add(written)
                tally.bits += 0.0 if written.stored or coded is None else coded.bits
            meter.end()
            batch = list(islice(marked, work.blocks))
    return tally.summary(writer.written, len(embed or b""))


def _decompress(
    reader: Reader,
    sink: Sink,
    recipe: Recipe,
    start: int,
    length: int | None,
    work: Work,
    progress: Progress | None,
) -> Summary:
    header = reader.header
    check_model(header, recipe.model)
    if (recipe.context, recipe.stride) != (header.context, header.stride):
        raise ValueError("the recipe reads otherwise than the header says")
    stop = None if length is None else start + length
    batches = _batches(reader, start, stop, work.blocks)
    tally, meter = _Tally(), _Meter(progress)
    blocks, problem = next(batches, ([], None))
    with crew(recipe, max(1, min(work.threads, len(blocks)))) as coders:
        _check_arithmetic(header, coders)
        while blocks or problem:
            meter.begin(sum(block.size for block in blocks), sum(block.tokens for block in blocks))
            for block, raw in _decoded(coders, blocks, meter):
                first = max(start - block.offset, 0)
                sink.write(raw[first : None if stop is None else max(stop - block.offset, 0)])
                tally.add(block)
            if problem is not None:
                raise problem
            meter.end()
            blocks, problem = next(batches, ([], None))
    _check_range(start, stop, reader.offset)
    return tally.summary(reader.position, len(header.embedded or b""))


def _decoded(coders: Crew, blocks: list[Block], meter: _Meter) -> Iterator[tuple[Block, bytes]]:
    """Each block with its bytes, once they are known to be its bytes."""
    coded = [block for block in blocks if not block.stored]
    found = iter(coders.decode([Coded(block.tokens, block.payload) for block in coded], meter.tokens))
    for block in blocks:
        yield block, check(block, block.payload if block.stored else next(found))


def _batches(
    reader: Reader, start: int, stop: int | None, size: int
) -> Iterator[tuple[list[Block], StreamError | None]]:
    """The blocks of a range, up to `size` at a time; with the last of them the error that ended the reading.

    An error comes with the blocks before it, not instead of them: one of these may be damaged, and is to be named.
    """
    batch: list[Block] = []
    try:
        for block in reader.blocks(start):
            if block.offset + block.size > start:
                batch.append(block)
            if len(batch) == size:
                yield batch, None
                batch = []
            if stop is not None and block.offset + block.size >= stop:
                break
    except StreamError as error:
        yield batch, error
        return
    if batch:
        yield batch, None


def _check_arithmetic(header: Header, coders: Crew) -> None:
    if coders.identity[:ARITHMETIC_BYTES] != header.arithmetic:
        raise StreamError(
            "the file was compressed with other arithmetic: another version of bytegolf, or other tables",
            got=f"{coders.identity[:ARITHMETIC_BYTES].hex()} here, {header.arithmetic.hex()} in the file",
            fix="use the version of bytegolf that compressed it",
        )


def _check_range(start: int, stop: int | None, end: int) -> None:
    if max(start, stop or 0) > end:
        wanted = f"{start:,} to {stop:,}" if stop is not None else f"{start:,} to the end"
        raise StreamError(
            f"a range must lie inside the text, which has {end:,} bytes",
            got=f"bytes {wanted}",
            fix=f"choose a range from 0 to {end}",
        )


def cut_bytes(source: Source, size: int) -> Iterator[Text]:
    """Blocks of `size` bytes; what is left of a text at its end is cut evenly, into enough blocks to fill _LANES
    of them if none gets shorter than half a block or _SHORT.

    A decoder takes a step for each token of its longest block, which hardly takes longer for more lanes.
    """
    full = max(_LANES * DEFAULT_BLOCK // size, 1)
    while data := _read(source, full * size):
        needed, halves = -(-len(data) // size), len(data) // max(size // 2, _SHORT)
        blocks = full if len(data) == full * size else max(needed, min(halves, _LANES))
        cuts = accumulate(even(len(data), blocks), initial=0)
        yield from (Text(data[a:b]) for a, b in pairwise(cuts))


def _read(source: Source, size: int) -> bytes:
    """`size` bytes, fewer only at the end; a pipe may give them in smaller pieces."""
    parts, have = [], 0
    while have < size and (part := source.read(size - have)):
        parts.append(part)
        have += len(part)
    return b"".join(parts)


def cut_documents(documents: Iterable[bytes], size: int) -> Iterator[Text]:
    """Blocks of at most `size` bytes that end where documents end; only a longer document is cut itself.

    A document that does not fit into what is left of a block begins the next one, since the model sees nothing of
    the block before.
    """
    held, starts = bytearray(), list[int]()
    for document in filter(None, documents):
        if held and len(held) + len(document) > size:
            yield Text(bytes(held), tuple(starts))
            held, starts = bytearray(), []
        if held:
            starts.append(len(held))
        whole = len(document) // size * size if len(document) > size else 0
        yield from (Text(document[at : at + size]) for at in range(0, whole, size))
        held += document[whole:]
    if held:
        yield Text(bytes(held), tuple(starts))


def _with_last(texts: Iterator[Text]) -> Iterator[tuple[Text, bool]]:
    """Every text and whether it is the last; one empty text where there is none."""
    now = next(texts, Text(b""))
    for following in texts:
        yield now, False
        now = following
    yield now, True


class _Tally:
    """Sums over blocks."""

    def __init__(self) -> None:
        self.raw = self.payload = self.blocks = self.stored = self.stored_bytes = self.tokens = 0
        self.bits = 0.0

    def add(self, block: Block) -> None:
        self.raw += block.size
        self.payload += block.coded
        self.blocks += 1
        self.stored += block.stored
        self.stored_bytes += block.size if block.stored else 0
        self.tokens += block.tokens

    def summary(self, file: int, embedded: int) -> Summary:
        return Summary(
            self.raw,
            file - embedded,
            self.payload,
            self.blocks,
            self.stored,
            self.stored_bytes,
            self.tokens,
            self.bits,
            embedded,
        )


class _Meter:
    """Tokens that a coder reports -> bytes of text that are done, estimated inside a batch."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._ratio = progress, _BYTES_PER_TOKEN
        self._done = self._size = self._tokens = 0

    def begin(self, size: int, tokens: int = 0) -> None:
        """The next batch. tokens: how many it has, where that is known."""
        self._size, self._tokens = size, 0
        if tokens:
            self._ratio = size / tokens

    def tokens(self, count: int) -> None:
        self._tokens += count
        self._show(min(int(self._tokens * self._ratio), self._size))

    def end(self) -> None:
        if self._tokens:
            self._ratio = self._size / self._tokens
        self._done, self._size = self._done + self._size, 0
        self._show(0)

    def _show(self, now: int) -> None:
        if self._progress is not None:
            self._progress(self._done + now)
