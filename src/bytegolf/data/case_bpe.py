"""Byte-pair encoding of text whose capital letters stand apart: one piece for `The`, `the` and `THE`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bytegolf.data.batches import encode_in_batches
from bytegolf.data.case_split import join_case, join_leniently, operators_in_force, pending, split_case
from bytegolf.data.framing import damaged, frame, unframe
from bytegolf.data.tokenizer import BpeTokenizer, Decoder, Ids
from bytegolf.errors import DataError

# The pattern of plain text, with room for a case operator between a word and the blank or mark before it, and
# with marks that leave an operator to its word: " The", "(HTTP", "::Path". Such a blank, operator and word may
# become one piece; cut apart, the text takes 2 % more tokens.
CASE_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\x0e\x0f]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}\x0e\x0f]+(?:\r?\n[ \t]*)*|\s*\n[ \t]*|[^\S\n]+"
)

_BETWEEN = b"\n"  # stands for BOS: no letter and no operator, so none works across it


class CaseBpeTokenizer:
    """`BpeTokenizer` on the text that `split_case` writes.

    bpe: the tokenizer of the split text; vocabulary and BOS are its own.
    """

    kind: ClassVar[str] = "case_bpe"
    transforms: ClassVar[bool] = True

    def __init__(self, bpe: BpeTokenizer) -> None:
        self.bpe = bpe
        self._texts = (_BETWEEN, *bpe.pieces)

    @classmethod
    def learn(cls, texts: Iterable[bytes], vocab_size: int, pattern: str = CASE_PATTERN) -> CaseBpeTokenizer:
        """Learn the most frequent merges of the split texts. Raises DataError as `BpeTokenizer.learn` does."""
        return cls(BpeTokenizer.learn(map(split_case, texts), vocab_size, pattern))

    @classmethod
    def check_vocab_size(cls, vocab_size: int) -> None:
        """Raises DataError unless there may be a vocabulary of this size."""
        BpeTokenizer.check_vocab_size(vocab_size)

    @property
    def vocab_size(self) -> int:
        """BOS and the pieces."""
        return self.bpe.vocab_size

    @property
    def bos_id(self) -> int:
        """The id that stands before every document."""
        return self.bpe.bos_id

    @cached_property
    def sha256(self) -> str:
        """Hex digest of `to_bytes()`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def encode(self, data: bytes) -> Ids:
        """Token ids of `data`, without BOS. Raises DataError if the pattern loses text."""
        return self.bpe.encode(split_case(data))

    def encode_documents(self, documents: Sequence[bytes]) -> Ids:
        """What `encode` gives for each document, a BOS before each."""
        # The mark has no capital and begins and ends with no letter: documents around it are split as if alone.
        return encode_in_batches(
            documents, self.bos_id, self.encode, lambda joined: self.bpe.encode_joined(split_case(joined))
        )

    def decode(self, ids: npt.ArrayLike) -> bytes:
        """The bytes of `ids` (any shape, read in C order), each document from its BOS on.

        Raises DataError for an id beyond the vocabulary, and for a document that is not whole: its tokens must
        be those of a text that `split_case` writes.
        """
        flat = np.asarray(ids).ravel()
        documents = np.split(flat, np.flatnonzero(flat == self.bos_id))
        return b"".join([join_case(self.bpe.decode(document)) for document in documents if len(document)])

    def decoder(self) -> Decoder:
        """For tokens that come one by one, whatever they are: operators without a letter are dropped."""
        return _CaseDecoder(self.bpe)

    def token_bytes(self) -> npt.NDArray[np.int64]:
        """Bytes of each id, (vocab_size,), without the operators in it: an estimate.

        It falls short of `byte_counts` where an escape ends one token and the byte it escapes begins the next.
        """
        sizes = [np.count_nonzero(~operators_in_force(piece)) for piece in self.bpe.pieces]
        return np.array([0, *sizes], dtype=np.int64)

    def byte_counts(self, ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
        """Bytes of the text that each token stands for, (n,); a new document begins at each BOS.

        Case operators and escapes have none, every other byte of a token is one byte of the text. Sums over
        `encode(data)` to len(data), and over any ids of a document to what `decoder()` gives for them.
        Raises DataError for an id beyond the vocabulary. Cost: about 0.1 s and 50 MB per million bytes.
        """
        self.bpe.byte_counts(ids)  # raises DataError for an id beyond the vocabulary
        texts = [self._texts[i] for i in ids.tolist()]
        counted = ~operators_in_force(b"".join(texts))
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        upto = np.concatenate([[0], np.cumsum(counted)])
        counts = np.diff(upto[ends], prepend=0)
        return np.where(ids == self.bos_id, 0, counts).astype(np.uint16)

    def to_bytes(self) -> bytes:
        """A head {kind}; payload: `to_bytes` of the tokenizer within."""
        return frame({"kind": self.kind}, self.bpe.to_bytes())

    @classmethod
    def from_bytes(cls, blob: bytes) -> CaseBpeTokenizer:
        """The inverse of `to_bytes`. Raises DataError for anything else."""
        _, payload = unframe(blob, cls.kind, set())
        try:
            return cls(BpeTokenizer.from_bytes(payload))
        except DataError as error:
            raise damaged(f"within: {error.got or error.rule}") from error


class _CaseDecoder:
    """Decodes a document token by token: the operator that works on what is to come is kept between calls."""

    def __init__(self, bpe: BpeTokenizer) -> None:
        self._bpe, self._pending = bpe, b""

    def decode(self, ids: npt.ArrayLike) -> bytes:
        data = self._pending + self._bpe.decode(ids)
        self._pending = pending(data)
        return join_leniently(data)
