"""Text drawn from a model, token by token."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import numpy as np

from bytegolf.data.tokenizer import Tokenizer
from bytegolf.model.backend import Backend, Floats


def sample_text(
    backend: Backend,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    context: int,
    tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> Iterator[str]:
    """Yield the continuation of `prompt` piece by piece, until `tokens` are drawn or the document ends.

    Each token sees the last `context` tokens. A model may draw what no text encodes to: bytes that are no UTF-8
    show as U+FFFD, and a case operator that no letter follows shows as nothing. A prompt that ends within a word
    in capitals is continued in capitals. Cost: one forward of up to `context` tokens for each token drawn.
    """
    stream = np.random.Generator(np.random.Philox(seed))
    ids = [tokenizer.bos_id, *tokenizer.encode(prompt.encode("utf-8", "surrogateescape")).tolist()]
    text, decoder = codecs.getincrementaldecoder("utf-8")(errors="replace"), tokenizer.decoder()
    decoder.decode(ids)  # what is drawn may continue the last word of the prompt
    for _ in range(tokens):
        logits = backend.next_logits(np.asarray(ids[-context:], np.int64))
        token = draw(logits, temperature, top_p, stream)
        if token == tokenizer.bos_id:
            break
        ids.append(token)
        yield text.decode(decoder.decode([token]))
    yield text.decode(b"", final=True)


def draw(logits: Floats, temperature: float, top_p: float, stream: np.random.Generator) -> int:
    """One token id: softmax(logits / temperature) cut to the smallest set of tokens that holds top_p of it.

    temperature 0 takes the most likely token.
    """
    if temperature == 0:
        return int(np.argmax(logits))
    scaled = np.asarray(logits, np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    order = np.argsort(-weights, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    kept = order[: int(np.searchsorted(share, top_p)) + 1]
    return int(stream.choice(kept, p=weights[kept] / weights[kept].sum()))
