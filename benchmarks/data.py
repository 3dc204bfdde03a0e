"""The tokenizer on library sources: learning, encoding (tiktoken, and `tokenizers` beside it), decoding."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from bytegolf.data.corpora import stdlib
from bytegolf.data.tokenizer import BpeTokenizer
from common import seconds, show

MEGABYTES = 2
VOCAB = 1024


def main() -> None:
    sources = b"".join(document.data for document in stdlib().documents)
    text = sources[: MEGABYTES * 1_000_000].decode(errors="ignore")
    data = text.encode()
    size = len(data) / 1e6
    tokenizer = BpeTokenizer.learn([data], VOCAB)
    reference = hugging_face(text, tokenizer.pattern)
    ids = tokenizer.encode(data)

    train = seconds(lambda: BpeTokenizer.learn([data], VOCAB), 3)
    ours = seconds(lambda: tokenizer.encode(data), 3)
    theirs = seconds(lambda: reference.encode(text), 3)
    decode = seconds(lambda: tokenizer.decode(ids), 3)
    rows = [
        ["train", f"{size / train:.2f}", ""],
        ["encode (tiktoken)", f"{size / ours:.2f}", f"{theirs / ours:.2f} times the speed of tokenizers"],
        ["encode (tokenizers)", f"{size / theirs:.2f}", ""],
        ["decode", f"{size / decode:.2f}", ""],
    ]
    title = f"{VOCAB} tokens, {size:.1f} MB of Python, {len(data) / len(ids):.2f} bytes/token"
    show(title, ["", "MB/s", ""], rows)


def hugging_face(text: str, pattern: str) -> Tokenizer:
    """The library that learns our pieces, encoding with what it learns itself."""
    learner = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(rf"{pattern}|[\s\S]"), "isolated")
    spelling = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learner.pre_tokenizer = pre_tokenizers.Sequence([cut, spelling])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - 1, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator([text], trainer)
    return learner


if __name__ == "__main__":
    main()
