"""What an adapter may learn from: graded chunks, in the order of the text, without gaps."""

from __future__ import annotations

from bytegolf.model.scored import Scored, ScoringError


def next_graded(chunk: object, end: int | None) -> Scored:
    """`chunk`, when it is graded and begins at target `end`; with end = None it may begin anywhere.

    Raises TypeError for anything but a Scored, ScoringError when it begins elsewhere.
    """
    if not isinstance(chunk, Scored):
        raise TypeError(f"adaptation learns from a Scored and from nothing else, not from {type(chunk)}")
    if end is not None and chunk.first != end:
        raise ScoringError(
            f"chunks are learnt from in order, without gaps: the next one begins at target {end}",
            got=f"a chunk that begins at target {chunk.first}",
        )
    return chunk
