"""Learning the pieces of a byte-pair encoding, with the library `tokenizers`."""

from __future__ import annotations

from collections.abc import Iterator

from bytegolf.errors import DataError

SINGLE_BYTES = [bytes([value]) for value in range(256)]
MAX_PIECE_BYTES = 128


def cover(pattern: str) -> str:
    """`pattern`, and every character that it leaves by itself."""
    return rf"{pattern}|[\s\S]"


def learn_pieces(runs: Iterator[str], count: int, pattern: str) -> list[bytes]:
    """The single bytes and the most frequent merges within the cuts of `pattern`, `count` pieces at most.

    Raises DataError if the pattern is not a regular expression. Cost: 0.7 s of processor time per MB.
    """
    from tokenizers import Regex, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Learner

    try:
        cut = pre_tokenizers.Split(Regex(cover(pattern)), "isolated")
    except Exception as error:  # the library raises bare Exceptions
        raise DataError("the pattern must be a regular expression", got=f"{pattern!r}: {error}") from error
    learner = Learner(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=count,
        min_frequency=2,
        max_token_length=MAX_PIECE_BYTES,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    learner.train_from_iterator(runs, trainer)
    byte_of = _byte_level_alphabet()
    names = sorted((rank, name) for name, rank in learner.get_vocab().items())
    learnt = [bytes(byte_of[character] for character in name) for _, name in names]
    return SINGLE_BYTES + [piece for piece in learnt if len(piece) > 1]


def _byte_level_alphabet() -> dict[str, int]:
    """Character -> byte as `tokenizers` spells bytes: printable Latin-1 as itself, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}
