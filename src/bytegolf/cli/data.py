"""bytegolf data: text -> token shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from bytegolf.cli import datasets, fetch
from bytegolf.cli.output import CACHE, JSON, Output

app = typer.Typer(no_args_is_help=True, help="Build token shards from text, or fetch them.")

BUILD_HELP = """Turn a corpus into a tokenizer, token shards and a manifest.

CORPUS names text that is on every machine: `stdlib` (Python's own sources) or `stdlib-docs` (their docstrings).
`--source` takes your own: a text file, a folder, or a .jsonl whose lines have a `text` field. Whole modules,
files or lines are held out by a hash of their name, near duplicates of training text are moved back to
training, and the tokenizer sees the training side only.

A source may be larger than memory: it is read in chunks by several processes, and a build that was interrupted
or killed goes on when the same command is given again. While it works it needs three times the size of the text
on disk, beside --out. Of 96 MiB of text and more, about 8 MiB are held out and the tokenizer is trained on 16 MiB.

Example: `bytegolf data build stdlib`

Example: `bytegolf data build --source book.txt --out data/book --vocab 512`

Example: `bytegolf data build --source all.jsonl --out data/all --workers 8`
"""


app.command("fetch", help=fetch.HELP)(fetch.command)


@app.command("build", help=BUILD_HELP)
def build(
    corpus: str | None = typer.Argument(None, help="stdlib or stdlib-docs."),
    source: Path | None = typer.Option(None, help="A text file, a folder, or a .jsonl file."),
    out: Path | None = typer.Option(None, help="Folder of the dataset; needed with --source."),
    vocab: int | None = typer.Option(
        None,
        min=2,
        max=65_536,
        help=f"Entries of the tokenizer, BOS included.  [default: {datasets.DEFAULT_VOCAB}]",
        show_default=False,
    ),
    tokenizer: str = typer.Option(
        "bpe",
        help="bpe, case_bpe (capitals stand apart from the words), or bytes (257 entries, no training).",
    ),
    shard_tokens: int | None = typer.Option(
        None, min=1, help="Tokens of a shard.  [default: 100,000,000]", show_default=False
    ),
    workers: int | None = typer.Option(
        None,
        min=1,
        help="Processes; the dataset is the same for any number.  [default: the cores]",
        show_default=False,
    ),
    force: bool = typer.Option(False, "--force", help="Replace a dataset that is there already."),
    cache: Path | None = CACHE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    output = Output(as_json)
    if (corpus is None) == (source is None):
        raise typer.BadParameter("give the name of a corpus or --source, one of them")
    if source is not None and out is None:
        raise typer.BadParameter("--source needs --out, the folder of the dataset")
    vocab = vocab or datasets.default_vocab(tokenizer)
    folder = out or datasets.named(corpus or "", vocab, cache, tokenizer)
    dataset = datasets.build(
        output,
        corpus=corpus,
        source=source,
        folder=folder,
        vocab=vocab,
        tokenizer=tokenizer,
        shard_tokens=shard_tokens,
        workers=workers,
        force=force,
    )
    splits = dataset.manifest.splits
    output.table(
        ["split", "documents", "bytes", "tokens", "bytes/token"],
        [
            [name, f"{s.documents:,}", f"{s.bytes:,}", f"{s.tokens:,}", f"{s.bytes / s.tokens:.3f}"]
            for name, s in (("train", splits.train), ("held out", splits.val))
        ],
    )
    output.show(f"dataset: {folder}")
    result = {"folder": str(folder), "manifest": dataset.manifest.model_dump(mode="json")}
    output.finish(result)
    return result
