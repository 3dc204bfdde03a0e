"""The byte rule of Parameter Golf: what a token of its FineWeb shards counts in the published scores.

The shards hold SentencePiece ids, and the published denominator is read from the pieces, with U+2581 for a blank:

    bytes(target | previous) = base[target] + (lead[target] and not boundary[previous])

    piece                               base                          lead    boundary
    control, unknown, unused            0                             no      yes
    byte, such as <0xE2>                1                             no      no
    any other, one leading U+2581 off   UTF-8 bytes of what is left   if so   no

So a blank before a word costs its byte once, and none behind BOS. These are bytes of the text that SentencePiece
normalised (NFKC, runs of blanks made one, blanks at both ends dropped), not those of the document, and a character
that the vocabulary cannot write counts nothing. It is the rule of the published scores and of nothing else here: a
score of our own is over raw bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bytegolf.errors import DataError

BLANK = "\u2581"  # how SentencePiece writes a blank

PieceType = Literal["normal", "user_defined", "byte", "control", "unknown", "unused"]
Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_CHUNK_TOKENS = 1 << 22


@dataclass(frozen=True)
class PieceBytes:
    """The rule as tables over the ids, (V,) each. Made by `from_pieces` or `from_sentencepiece`."""

    base: Counts
    lead: Mask
    boundary: Mask

    @classmethod
    def from_pieces(cls, pieces: Sequence[tuple[str, PieceType]]) -> PieceBytes:
        """The tables of a vocabulary, in the order of its ids.

        Raises DataError unless a lone U+2581 is a piece: without it a blank that joins no word is written as its
        three UTF-8 bytes, which would triple it (published scores have been wrong by a fifth in this way).
        """
        if (BLANK, "normal") not in pieces and (BLANK, "user_defined") not in pieces:
            raise DataError(
                "the vocabulary must have the lone blank U+2581 as a piece, or one blank would count 3 bytes",
                got=f"{len(pieces)} pieces without it",
                fix="train the SentencePiece model with user_defined_symbols=\u2581, or on more text",
            )
        boundary = np.array([kind in ("control", "unknown", "unused") for _, kind in pieces])
        written = np.array([kind in ("normal", "user_defined") for _, kind in pieces])
        lead = written & np.array([piece.startswith(BLANK) for piece, _ in pieces])
        sizes = np.array([len(piece.removeprefix(BLANK).encode()) for piece, _ in pieces], dtype=np.int64)
        return cls(base=np.where(written, sizes, np.where(boundary, 0, 1)), lead=lead, boundary=boundary)

    @classmethod
    def from_sentencepiece(cls, path: str | os.PathLike[str]) -> PieceBytes:
        """The tables of a SentencePiece `.model` file.

        Raises DataError if the file is no model or has no lone blank.
        """
        from sentencepiece import SentencePieceProcessor

        try:
            model = SentencePieceProcessor(model_file=os.fspath(path))
        except (OSError, RuntimeError) as error:
            raise DataError(
                "the file must be a SentencePiece model", got=str(error), where=os.fspath(path)
            ) from error
        kinds: dict[PieceType, Callable[[int], bool]] = {
            "control": model.is_control,
            "unknown": model.is_unknown,
            "unused": model.is_unused,
            "byte": model.is_byte,
        }
        pieces: list[tuple[str, PieceType]] = []
        for i in range(model.vocab_size()):
            kind: PieceType = next((name for name, test in kinds.items() if test(i)), "normal")
            pieces.append((model.id_to_piece(i), kind))
        return cls.from_pieces(pieces)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.base)

    def target_bytes(self, previous: npt.ArrayLike, target: npt.ArrayLike) -> Counts:
        """Bytes of each target behind its previous token, of one shape. Raises DataError for an unknown id."""
        before, wanted = self._known(previous), self._known(target)
        counts: Counts = self.base[wanted] + (self.lead[wanted] & ~self.boundary[before])
        return counts

    def per_target(self, tokens: npt.ArrayLike) -> Counts:
        """Bytes of the targets tokens[1:], (n - 1,); 8 bytes of memory for each. Raises DataError."""
        row = np.asarray(tokens)
        return self.target_bytes(row[:-1], row[1:])

    def stream_bytes(self, tokens: npt.NDArray[np.integer]) -> int:
        """Bytes of all targets tokens[1:] together, the published denominator. Raises DataError.

        Cost: about 0.02 s per million tokens; 0.1 GB of memory, however long the stream is.
        """
        return sum(int(self.per_target(chunk).sum()) for chunk in _overlapping(tokens))

    def _known(self, ids: npt.ArrayLike) -> npt.NDArray[np.integer]:
        found = np.asarray(ids)
        if found.size and not 0 <= int(found.min()) <= int(found.max()) < self.vocab_size:
            raise DataError(
                f"a token id must be in 0..{self.vocab_size - 1}",
                got=f"{int(found.min())}..{int(found.max())}",
                fix="use the SentencePiece model that the shards were written with",
            )
        return found if found.size else found.astype(np.intp)


def _overlapping(tokens: npt.NDArray[np.integer]) -> Iterator[npt.NDArray[np.integer]]:
    """Chunks that each begin with the last token of the one before, so that every target has its previous."""
    for start in range(0, len(tokens) - 1, _CHUNK_TOKENS):
        yield tokens[start : start + _CHUNK_TOKENS + 1]


@dataclass(frozen=True)
class Export:
    """A published export of the validation text: its targets and their bytes, known to within `tolerance`."""

    targets: int
    bytes: int
    tolerance: int


# Read from the losses, the scores and the token counts of published logs. The first 50,000 documents of FineWeb.
CURRENT_EXPORT = Export(targets=62_021_632, bytes=151_080_363, tolerance=0)
OLDER_EXPORT = Export(targets=63_779_840, bytes=155_769_746, tolerance=1)


def check_challenge_export(targets: int, n_bytes: int, expected_bytes: int | None = None) -> None:
    """Hold the counted bytes of a validation stream to what is known of it, or stop the run.

    targets, n_bytes: what was counted: tokens that are scored, and `stream_bytes` of their stream.
    expected_bytes: the caller's own figure, for a stream that is no published export.
    Raises DataError if a published export has other bytes than these, if a stream of another length comes
    without a figure of the caller's own, or if the bytes are not that figure.
    """
    for export in (CURRENT_EXPORT, OLDER_EXPORT):
        if targets == export.targets and abs(n_bytes - export.bytes) > export.tolerance:
            raise DataError(
                f"the published export of {targets:,} targets has {export.bytes:,} bytes",
                got=f"{n_bytes:,} bytes",
                fix="use the published shards and tokenizer; a score over other bytes compares with nothing",
            )
    if expected_bytes is not None and n_bytes != expected_bytes:
        raise DataError(f"the stream must have {expected_bytes:,} bytes", got=f"{n_bytes:,} bytes")
    if expected_bytes is None and targets not in (CURRENT_EXPORT.targets, OLDER_EXPORT.targets):
        raise DataError(
            f"a published export has {CURRENT_EXPORT.targets:,} targets (the older one {OLDER_EXPORT.targets:,})",
            got=f"{targets:,} targets, {n_bytes:,} bytes: not a known export",
            fix="score the whole validation split, or pass the bytes that this stream must have",
        )
