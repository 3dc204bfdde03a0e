"""Three seeds of one small config, and how a record is made of them."""

from __future__ import annotations

from cli_samples import Answer, call

SEEDS = (7, 42, 1337)
CREDITS = (
    "--title",
    "Tiny: three seeds",
    "--author",
    "Ada L.",
    "--github-id",
    "ada-l",
    "--date",
    "2026-11-23",
)


def done(*words: object) -> Answer:
    answer = call(*words)
    assert answer.code == 0, answer.err
    return answer
