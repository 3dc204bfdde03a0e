"""bytegolf data fetch: published token shards -> a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from bytegolf.cli.output import JSON, Output

if TYPE_CHECKING:
    from bytegolf.data.fetch import Fetched

REPO = "willdepueoai/parameter-golf"

HELP = """Fetch the token shards of the Parameter Golf challenge from the Hugging Face hub.

All validation shards, the first `--train-shards` training shards (100 million tokens, 200 MB each) and the
tokenizer, checked against the hub's sizes and sha256s and the manifest beside them, which is read anew every time.
What is there already is not fetched again: run the command again after a cut, or with more shards. `--repo` and
`--prefix` take exports of other people. Then `bytegolf train baseline --data data/fineweb`. docs/data.md says what
is checked and what the scores are divided by.

Example: `bytegolf data fetch fineweb --train-shards 8 --out data/fineweb`

Example: `bytegolf data fetch fineweb --repo OWNER/NAME --variant sp8192`
"""


def command(
    name: Literal["fineweb"] = typer.Argument(help="What to fetch."),
    variant: str = typer.Option("sp1024", help="Tokenisation: sp1024, or another that the manifest has."),
    train_shards: int = typer.Option(1, min=1, help="Training shards, from the first."),
    out: Path = typer.Option(Path("data/fineweb"), help="Folder of the dataset."),
    with_docs: bool = typer.Option(False, "--with-docs", help="The raw documents too (tens of GB)."),
    repo: str = typer.Option(REPO, help="Dataset repository on the hub."),
    revision: str = typer.Option("main", help="Branch, tag or commit."),
    prefix: str = typer.Option(
        "datasets", help='Folder in the repository that holds manifest.json; "" is its root.'
    ),
    endpoint: str | None = typer.Option(None, help="Another hub.  [default: the library's]"),
    workers: int = typer.Option(4, min=1, max=32, help="Files at a time."),
    force: bool = typer.Option(
        False, "--force", help="Replace another dataset, and files that are not as the hub has them."
    ),
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.data.fetch import Wanted, fetch
    from bytegolf.data.remote import Hub

    output = Output(as_json)
    hub = Hub(repo, revision, prefix.strip("/"), endpoint)
    wanted = Wanted(hub, variant, out, train_shards, with_docs, workers, force)
    with output.progress("fetching") as show:
        fetched = fetch(wanted, lambda stage, done, total: show(done / total if total else 1.0, stage))
    return _finish(output, out, fetched)


def _finish(output: Output, folder: Path, fetched: Fetched) -> dict[str, Any]:
    manifest = fetched.dataset.manifest
    if fetched.notice:
        output.tell(fetched.notice)
    output.table(
        ["split", "shards", "documents", "bytes", "tokens", "bytes/token"],
        [
            [
                side,
                f"{len(s.files):,}",
                f"{s.documents:,}",
                f"{s.bytes:,}",
                f"{s.tokens:,}",
                f"{s.bytes / s.tokens:.3f}",
            ]
            for side, s in (("train", manifest.splits.train), ("held out", manifest.splits.val))
        ],
    )
    output.show(f"fetched {fetched.files} files, {fetched.bytes / 1e6:,.1f} MB; {manifest.source}")
    output.show(f"dataset: {folder}")
    result = {
        "folder": str(folder),
        "files": fetched.files,
        "bytes": fetched.bytes,
        "notice": fetched.notice,
        "manifest": manifest.model_dump(mode="json"),
    }
    output.finish(result)
    return result
