"""Bytes <-> token ids, without loss: any bytes in, the same bytes out.

Id 0 is BOS, which stands before every document and has no bytes. Every other id is a piece, a fixed byte string.
A tokenizer serialises to one JSON line, a payload and a CRC-32, the form it has in a dataset and in an artifact.
Tokenizers that encode another text than the one they give back (`case_bpe`) have files of their own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from bytegolf import registry
from bytegolf.data.batches import MARK, encode_in_batches
from bytegolf.data.framing import damaged, frame, read_head, unframe
from bytegolf.data.learning import MAX_PIECE_BYTES, SINGLE_BYTES, cover, learn_pieces
from bytegolf.errors import ConfigError, DataError

if TYPE_CHECKING:
    import tiktoken

Ids = npt.NDArray[np.uint16]

BOS_ID = 0
MAX_VOCAB_SIZE = 1 << 16
MAX_PATTERN_CHARACTERS = 1000

# A word takes one leading blank or mark along (" the", ".join", "_name", "(self"), digits stand alone, marks take
# the line break and the indentation that follow them, and so does a blank line. Without look-around, so that the
# regex engines of both libraries run in linear time on any text.
DEFAULT_PATTERN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+(?:\r?\n[ \t]*)*|\s*\n[ \t]*|[^\S\n]+"

_INVALID_BYTE = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of a byte that is not UTF-8
_MARK_RANK = 0xFFFF  # becomes id 0, BOS: ids are ranks + 1 in 16 bits, and no vocabulary has this rank


class Decoder(Protocol):
    """Tokens of one document -> bytes, in pieces as they come. Takes any ids, also what no text encodes to."""

    def decode(self, ids: npt.ArrayLike) -> bytes: ...


class Tokenizer(Protocol):
    """What the rest of bytegolf may ask of a tokenizer.

    kind: its name in the registry slot `tokenizer`.
    transforms: whether it encodes another text than the one it gives back, so that the bytes of a token depend
    on the tokens before it.
    """

    kind: ClassVar[str]
    transforms: ClassVar[bool]

    @property
    def vocab_size(self) -> int: ...

    @property
    def bos_id(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    def encode(self, data: bytes) -> Ids: ...

    def decode(self, ids: npt.ArrayLike) -> bytes: ...

    def decoder(self) -> Decoder: ...

    def token_bytes(self) -> npt.NDArray[np.int64]: ...

    def byte_counts(self, ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]: ...

    def to_bytes(self) -> bytes: ...


class Learner(Tokenizer, Protocol):
    """A tokenizer that a build can train; it encodes documents by the batch, a BOS before each."""

    @classmethod
    def learn(cls, texts: Iterable[bytes], vocab_size: int) -> Learner: ...

    @classmethod
    def check_vocab_size(cls, vocab_size: int) -> None: ...

    def encode_documents(self, documents: Sequence[bytes]) -> Ids: ...


class _Pieces:
    """What both tokenizers share: BOS and then one piece per id."""

    kind: ClassVar[str]
    transforms: ClassVar[bool] = False
    bos_id = BOS_ID

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = tuple(pieces)

    @property
    def vocab_size(self) -> int:
        """BOS and the pieces."""
        return 1 + len(self.pieces)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of `to_bytes()`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The serialised tokenizer, the same bytes for equal tokenizers."""
        raise NotImplementedError

    def token_bytes(self) -> npt.NDArray[np.int64]:
        """Bytes of each id, (vocab_size,); 0 for BOS. Sums over `encode(data)` to len(data)."""
        return np.array([0, *map(len, self.pieces)], dtype=np.int64)

    def byte_counts(self, ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
        """Bytes of the text that each token stands for, (n,): here always those of its piece.

        Raises DataError for an id beyond the vocabulary.
        """
        counts: npt.NDArray[np.uint16] = self.token_bytes().astype(np.uint16)[self._known(ids)]
        return counts

    def decoder(self) -> Decoder:
        """This tokenizer: what a token gives depends on no other, and any ids decode."""
        return self

    def decode(self, ids: npt.ArrayLike) -> bytes:
        """The bytes of `ids` (any shape, read in C order); BOS gives none.

        Raises DataError for an id beyond the vocabulary.
        """
        flat = self._known(ids)
        table = (b"", *self.pieces)
        return b"".join([table[i] for i in flat.tolist()])

    def _known(self, ids: npt.ArrayLike) -> npt.NDArray[Any]:
        flat = np.asarray(ids).ravel()
        if flat.size and not 0 <= int(flat.min()) <= int(flat.max()) < self.vocab_size:
            raise DataError(
                f"a token id must be in 0..{self.vocab_size - 1}", got=f"{int(flat.min())}..{int(flat.max())}"
            )
        return flat


class BpeTokenizer(_Pieces):
    """Byte-level byte-pair encoding: pieces in rank order, id = rank + 1.

    Encoding cuts the text by `pattern` and merges within each cut, the adjacent pair whose joint piece has the
    lowest rank first, the leftmost of equals, until no pair is a piece (Sennrich et al. 2016, arXiv 1508.07909).

    pieces: the 256 single bytes in order, then pieces that each join two earlier ones, of at most 128 bytes.
    pattern: a regular expression in the syntax that `tokenizers` (Oniguruma) and `tiktoken` (Rust) share; text it
    does not match is cut into single characters.
    Raises DataError if a piece breaks the rule above or the pattern is not a regular expression.
    """

    kind: ClassVar[str] = "bpe"

    def __init__(self, pieces: Sequence[bytes], pattern: str = DEFAULT_PATTERN) -> None:
        super().__init__(pieces)
        self.pattern = pattern
        self._merges = _merges_of(self.pieces)
        self._encoding = _tiktoken_encoding(self.pieces, pattern)
        self._sizes = self.token_bytes()

    @classmethod
    def learn(cls, texts: Iterable[bytes], vocab_size: int, pattern: str = DEFAULT_PATTERN) -> BpeTokenizer:
        """Learn the most frequent merges in `texts`; the same texts give the same tokenizer.

        Bytes that are not UTF-8 separate the text around them and are counted nowhere: they keep their
        single-byte ids. Cost: 0.3 s per MB.
        Raises DataError if vocab_size is below 257 or above 65,536, or the texts hold too few pairs that
        occur at least twice.
        """
        cls.check_vocab_size(vocab_size)
        pieces = learn_pieces((run for text in texts for run in _valid_runs(text)), vocab_size - 1, pattern)
        if 1 + len(pieces) < vocab_size:
            raise DataError(
                f"the training text must hold enough repeated pairs for a vocabulary of {vocab_size}",
                got=f"enough for {1 + len(pieces)}",
                fix=f"pass vocab_size={1 + len(pieces)} or less, or give more text",
            )
        return cls(pieces, pattern)

    @classmethod
    def check_vocab_size(cls, vocab_size: int) -> None:
        """Raises DataError unless there may be a vocabulary of this size."""
        if not 1 + len(SINGLE_BYTES) <= vocab_size <= MAX_VOCAB_SIZE:
            raise DataError(
                f"vocab_size must be in {1 + len(SINGLE_BYTES)}..{MAX_VOCAB_SIZE}",
                got=vocab_size,
                fix="257 holds BOS and the single bytes; 1024 is a good start",
            )

    def encode(self, data: bytes) -> Ids:
        """Token ids of `data`, without BOS. Bytes that are not UTF-8 become their single-byte ids.

        Cost: about 0.1 s per MB. Raises DataError if the pattern loses text, as one that matches nothing may.
        """
        try:
            parts = [self._encode_text(data.decode("utf-8"))]
        except UnicodeDecodeError:
            parts = self._encode_around_bytes(data.decode("utf-8", "surrogateescape"))
        return self._checked(_ids_of(parts), len(data))

    def encode_documents(self, documents: Sequence[bytes]) -> Ids:
        """What `encode` gives for each document, a BOS before each."""
        return encode_in_batches(documents, self.bos_id, self.encode, self.encode_joined)

    def encode_joined(self, joined: bytes) -> Ids:
        """UTF-8 documents with a `MARK` between them, which becomes BOS."""
        ids = _ids_of([self._encode_text(joined.decode("utf-8"), {MARK})])
        marks = int(np.count_nonzero(ids == BOS_ID))
        return self._checked(ids, len(joined) - marks * len(MARK.encode()))

    def _encode_around_bytes(self, text: str) -> list[npt.NDArray[np.uint32]]:
        parts = []
        start = 0
        for match in _INVALID_BYTE.finditer(text):
            if start < match.start():
                parts.append(self._encode_text(text[start : match.start()]))
            parts.append(np.array([ord(match.group()) - 0xDC00], dtype=np.uint32))
            start = match.end()
        return [*parts, self._encode_text(text[start:])]

    def _checked(self, ids: Ids, expected: int) -> Ids:
        if (size := int(self._sizes[ids].sum())) != expected:
            raise self._lossy(f"{size} of {expected} bytes")
        return ids

    def _encode_text(self, text: str, marks: Set[str] = frozenset()) -> npt.NDArray[np.uint32]:
        """Ranks of the pieces. A mark is text like any other unless `marks` names it."""
        try:
            return self._encoding.encode_to_numpy(text, allowed_special=marks, disallowed_special=())
        except BaseException as error:
            # A pattern that matches the empty text makes the library panic, with a class it does not export.
            if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":
                raise
            raise self._lossy(str(error)) from error

    def _lossy(self, got: str) -> DataError:
        fix = "use a pattern that never matches the empty text"
        return DataError("the pattern must cut text without loss", got=got, where=repr(self.pattern), fix=fix)

    def to_bytes(self) -> bytes:
        """Head {kind, merges, pattern}; payload: for each merge the ranks of its two parts, bit-packed.

        The k-th merge (k = 0, 1, ..) may name 256 + k pieces, so each of its ranks takes bit_length(255 + k) bits:
        1,853 bytes for a vocabulary of 1,024. Fixed widths cost 100 bytes more than a general compressor would,
        and give the same bytes under every version of every library.
        """
        head = {"kind": self.kind, "merges": len(self._merges), "pattern": self.pattern}
        digits = [
            f"{rank:0{width}b}"
            for width, pair in zip(_widths(len(self._merges)), self._merges, strict=True)
            for rank in pair
        ]
        bits = "".join(digits)
        bits += "0" * (-len(bits) % 8)
        return frame(head, int(bits, 2).to_bytes(len(bits) // 8) if bits else b"")

    @classmethod
    def from_bytes(cls, blob: bytes) -> BpeTokenizer:
        """The inverse of `to_bytes`. Raises DataError for anything else; allocates at most 8 MB."""
        head, payload = unframe(blob, cls.kind, {"merges", "pattern"})
        count, pattern = head["merges"], head["pattern"]
        most = MAX_VOCAB_SIZE - 1 - len(SINGLE_BYTES)
        if not isinstance(pattern, str) or type(count) is not int or not 0 <= count <= most:
            raise damaged(f"merges={count!r}, pattern={pattern!r}")
        widths = _widths(count)
        size = (2 * sum(widths) + 7) // 8
        if len(payload) != size:
            raise damaged(f"{len(payload)} bytes of merges where {count} merges take {size}")
        bits = f"{int.from_bytes(payload):0{8 * size}b}"
        pieces = list(SINGLE_BYTES)
        at = 0
        for width in widths:
            left, right = int(bits[at : at + width], 2), int(bits[at + width : at + 2 * width], 2)
            at += 2 * width
            if max(left, right) >= len(pieces) or len(pieces[left] + pieces[right]) > MAX_PIECE_BYTES:
                raise damaged(f"merge {len(pieces) - 256} of pieces {left} and {right}")
            pieces.append(pieces[left] + pieces[right])
        if "1" in bits[at:]:
            raise damaged("bits behind the last merge")
        return cls(pieces, pattern)


class ByteTokenizer(_Pieces):
    """Id = byte + 1, for tests and for data that is no text. The vocabulary is always 257."""

    kind: ClassVar[str] = "bytes"

    def __init__(self) -> None:
        super().__init__(SINGLE_BYTES)

    @classmethod
    def learn(cls, texts: Iterable[bytes], vocab_size: int) -> ByteTokenizer:
        """There is nothing to learn. Raises DataError unless vocab_size is 257."""
        cls.check_vocab_size(vocab_size)
        return cls()

    @classmethod
    def check_vocab_size(cls, vocab_size: int) -> None:
        """Raises DataError unless it is 257."""
        if vocab_size != 1 + len(SINGLE_BYTES):
            raise DataError(
                "the byte tokenizer has a vocabulary of 257",
                got=vocab_size,
                fix="pass vocab_size=257, or use the tokenizer `bpe`",
            )

    def encode(self, data: bytes) -> Ids:
        """Token ids of `data`, without BOS: byte + 1."""
        return np.frombuffer(data, dtype=np.uint8).astype(np.uint16) + np.uint16(1)

    def encode_documents(self, documents: Sequence[bytes]) -> Ids:
        """What `encode` gives for each document, a BOS before each."""
        bos = np.array([self.bos_id], dtype=np.uint16)
        parts = [part for document in documents for part in (bos, self.encode(document))]
        return np.concatenate([bos[:0], *parts])

    def to_bytes(self) -> bytes:
        """A head {kind} and no payload."""
        return frame({"kind": self.kind}, b"")

    @classmethod
    def from_bytes(cls, blob: bytes) -> ByteTokenizer:
        """The inverse of `to_bytes`. Raises DataError for anything else."""
        _, payload = unframe(blob, cls.kind, set())
        if payload:
            raise damaged(f"{len(payload)} bytes after the head of a byte tokenizer")
        return cls()


def from_bytes(blob: bytes) -> Tokenizer:
    """The tokenizer that `to_bytes` wrote, whatever its kind. Raises DataError for any other bytes."""
    try:
        found: type[Any] = registry.lookup("tokenizer", read_head(blob)["kind"])
    except ConfigError as error:
        raise DataError(error.rule, fix=error.fix) from error
    tokenizer: Tokenizer = found.from_bytes(blob)
    return tokenizer


def _valid_runs(data: bytes) -> Iterator[str]:
    text = data.decode("utf-8", "surrogateescape")
    return (run for run in _INVALID_BYTE.split(text) if run)


def _ids_of(ranks: Sequence[npt.NDArray[np.uint32]]) -> Ids:
    return (np.concatenate(ranks) + np.uint32(1)).astype(np.uint16)


def _tiktoken_encoding(pieces: tuple[bytes, ...], pattern: str) -> tiktoken.Encoding:
    import tiktoken

    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise DataError(f"a pattern has at most {MAX_PATTERN_CHARACTERS} characters", got=len(pattern))
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    # Without any special token the library looks for the empty one, behind every character: half of its time.
    marks = {MARK: _MARK_RANK}
    try:
        return tiktoken.Encoding(
            "bytegolf", pat_str=cover(pattern), mergeable_ranks=ranks, special_tokens=marks
        )
    except ValueError as error:
        raise DataError("the pattern must be a regular expression", got=f"{pattern!r}: {error}") from error


def _merges_of(pieces: tuple[bytes, ...]) -> list[tuple[int, int]]:
    """For each piece after the single bytes the two earlier ranks that it joins, the longest left part first."""
    if list(pieces[:256]) != SINGLE_BYTES:
        raise DataError("the first 256 pieces must be the single bytes in order")
    if 1 + len(pieces) > MAX_VOCAB_SIZE:
        raise DataError(f"a vocabulary holds at most {MAX_VOCAB_SIZE} ids", got=1 + len(pieces))
    rank = {piece: i for i, piece in enumerate(SINGLE_BYTES)}
    merges = []
    for piece in pieces[256:]:
        cuts = range(len(piece) - 1, 0, -1) if len(piece) <= MAX_PIECE_BYTES else range(0)
        pairs = ((rank[piece[:k]], rank[piece[k:]]) for k in cuts if piece[:k] in rank and piece[k:] in rank)
        pair = next(pairs, None)
        if pair is None or piece in rank:
            raise DataError(
                f"a piece must be new, join two earlier ones and have at most {MAX_PIECE_BYTES} bytes",
                got=f"piece {len(rank)}: {piece!r}",
            )
        rank[piece] = len(rank)
        merges.append(pair)
    return merges


def _widths(merges: int) -> list[int]:
    return [(255 + k).bit_length() for k in range(merges)]
