"""manifest.json: what a dataset holds, where it came from, and the digests that prove it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bytegolf.errors import DataError

MANIFEST = "manifest.json"
FORMAT = 1

SplitName = Literal["train", "val"]

Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]  # no path out of the dataset


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenizerEntry(_Frozen):
    """The tokenizer of both splits. sha256: of its file."""

    kind: str
    vocab_size: Annotated[int, Field(ge=1, le=65536)]
    bos_id: Count
    sha256: Sha256
    file: FileName


class ShardEntry(_Frozen):
    """One shard. sha256: of the file."""

    name: FileName
    tokens: Count
    sha256: Sha256


class SplitEntry(_Frozen):
    """One side of the split.

    bytes: of the raw text, the denominator of bits per byte; BOS and boundaries have none.
    tokens: including the BOS before each document.
    sha256: of the concatenated raw text; None for training shards that were fetched, whose text was never at hand.
    byte_counts: for a tokenizer that transforms text, one file per shard with the bytes of each token; else none.
    """

    documents: Count
    bytes: Count
    tokens: Count
    sha256: Sha256 | None
    files: tuple[ShardEntry, ...]
    byte_counts: tuple[ShardEntry, ...] = ()

    @model_validator(mode="after")
    def _one_byte_count_a_token(self) -> SplitEntry:
        sizes = [shard.tokens for shard in self.files]
        if self.byte_counts and [shard.tokens for shard in self.byte_counts] != sizes:
            raise ValueError(f"byte_counts must have one file per shard, of {sizes} tokens")
        return self

    @property
    def identity(self) -> str:
        """64 hexadecimal digits that tell one text from another: its sha256, else that of its shards' sha256s."""
        shards = "".join(shard.sha256 for shard in self.files)
        return self.sha256 or hashlib.sha256(shards.encode()).hexdigest()


class Splits(_Frozen):
    """Both sides of the split."""

    train: SplitEntry
    val: SplitEntry


class MovedEntry(_Frozen):
    """Held-out documents that moved to training: more than `share` of their `shingle`-byte windows occur there."""

    documents: Count
    bytes: Count
    share: float
    shingle: Count


class FetchedFile(_Frozen):
    """One file from the hub, listed in a split or not. sha256: of the file, of `size` bytes.

    Of a shard: tokens, documents (how many BOS) and the bytes of all tokens but the first.
    """

    name: FileName
    size: Count
    sha256: Sha256
    tokens: Count = 0
    documents: Count = 0
    bytes: Count = 0


class Origin(_Frozen):
    """Where a fetched dataset came from. revision: what was asked for; commit: what it was then."""

    repo: str
    revision: str
    commit: str
    prefix: str
    variant: str
    files: tuple[FetchedFile, ...]


class Manifest(_Frozen):
    """The whole of manifest.json. tool, python, platform: what built it.

    moved_near_duplicates: None where nobody looked for any. origin: of a dataset that was fetched.
    """

    format: Literal[1]
    name: FileName
    source: str
    tool: str
    python: str
    platform: str
    tokenizer: TokenizerEntry
    splits: Splits
    moved_near_duplicates: MovedEntry | None
    origin: Origin | None = None


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a dataset folder. Raises DataError if it is missing, no JSON, or breaks the schema."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"a dataset is a folder with a {MANIFEST}",
            got=str(error),
            where=str(folder),
            fix="build it with `bytegolf data build`",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{MANIFEST} must be the file that the build wrote",
            got=f"{key}: {first['msg']}" if key else first["msg"],
            where=str(path),
            fix="build the dataset again with `bytegolf data build --force`",
        ) from error
