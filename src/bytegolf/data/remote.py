"""The hub's side of a FineWeb export: its manifest, what it says of its files, and their bytes.

A repository holds, below a prefix (`datasets` in the published one), manifest.json and what that names. Paths in
the manifest are relative to the prefix; shards are NAME_train_000000.bin, .. with NAME = fineweb:

    datasets/manifest.json
    datasets/datasets/fineweb10B_sp1024/fineweb_val_000000.bin
    datasets/tokenizers/fineweb_1024_bpe.model
    datasets/docs_selected.jsonl
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bytegolf.data.manifest import Count
from bytegolf.errors import DataError, did_you_mean

REPO = "willdepueoai/parameter-golf"
RETRIES = 5  # in a row, without one new byte
_WAIT = 1.0  # seconds before the first retry, doubled for each more
_TIMEOUT = 10.0  # seconds without an answer
_PATHS_A_REQUEST = 500

# No absolute path, no `..`, nothing hidden: every part begins with a letter, a digit or `_`.
_PART = "[A-Za-z0-9_][A-Za-z0-9._-]*"
RemotePath = Annotated[str, Field(pattern=rf"^{_PART}(/{_PART})*$")]


class UnreachableError(DataError):
    """The hub gives no answer: there is no network, or the library was told to use none."""


class CancelledError(Exception):
    """The download was told to stop."""


class _Open(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Stats(_Open):
    """Files, and tokens and documents where the manifest tells them."""

    files_train: Count
    files_val: Annotated[int, Field(ge=1)]
    tokens_train: Count | None = None
    tokens_val: Count | None = None
    docs_val: Count | None = None


class RemoteDataset(_Open):
    """One tokenisation. path: of its shards; `datasets/NAME` where the manifest does not say."""

    name: str
    tokenizer_name: str = ""
    tokenizer_kind: str = ""
    path: RemotePath | None = None
    vocab_size: Count
    bos_id: Count
    stats: Stats

    def shard(self, split: str, number: int) -> str:
        """The path of a shard, relative to the prefix."""
        return f"{self.path or f'datasets/{self.name}'}/fineweb_{split}_{number:06d}.bin"


class RemoteTokenizer(_Open):
    """model_path: a SentencePiece model; none for bytes."""

    name: str
    model_path: RemotePath | None = None


class RemoteManifest(_Open):
    """What of manifest.json matters here; other keys are ignored."""

    datasets: tuple[RemoteDataset, ...]
    tokenizers: tuple[RemoteTokenizer, ...] = ()

    def find(self, variant: str) -> RemoteDataset:
        """The dataset fineweb10B_VARIANT. Raises DataError with the variants that there are."""
        known = {dataset.name.removeprefix("fineweb10B_"): dataset for dataset in self.datasets}
        if variant not in known:
            fix = did_you_mean(variant, known) if known else None
            raise DataError(f"the manifest on the hub has no variant {variant!r}", where="--variant", fix=fix)
        return known[variant]

    def model_path(self, dataset: RemoteDataset) -> str | None:
        """The SentencePiece model of a dataset; None where its tokens are bytes. Raises DataError for others."""
        paths = [found.model_path for found in self.tokenizers if found.name == dataset.tokenizer_name]
        path = paths[0] if paths else None
        if path is None and not (
            dataset.vocab_size == 260 and "byte" in dataset.tokenizer_kind + dataset.name
        ):
            raise DataError(
                "a dataset must have a SentencePiece model or the 260 ids of bytes",
                got=f"{dataset.tokenizer_kind or 'no kind'}, {dataset.vocab_size} ids, no model_path",
                where=f"{dataset.name} in the manifest on the hub",
            )
        return path


@dataclass(frozen=True)
class HubFile:
    """path in the repository; size in bytes; sha256, None for what git itself holds; oid: git's digest of that."""

    path: str
    size: int
    sha256: str | None
    oid: str

    @property
    def tag(self) -> str:
        """What names the content, so that a part of an older one is not gone on with."""
        return (self.sha256 or self.oid)[:16]

    def check(self, file: Path) -> str:
        """The sha256 of a local file with this content. Raises DataError for another, OSError."""
        size = file.stat().st_size
        if size != self.size:
            raise DataError(
                f"{self.path} must have {self.size:,} bytes, as the hub says", got=f"{size:,} bytes"
            )
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
            opened.seek(0)
            if self.sha256 is None:
                git = hashlib.sha1(b"blob %d\0" % size + opened.read(), usedforsecurity=False).hexdigest()
                if git != self.oid:
                    raise DataError(
                        f"{self.path} must have the git digest {self.oid}, as the hub says", got=git
                    )
        if self.sha256 not in (None, digest):
            raise DataError(f"{self.path} must have sha256 {self.sha256}, as the hub says", got=digest)
        return digest


@dataclass(frozen=True)
class Hub:
    """A dataset repository at one revision. endpoint: None for the library's own."""

    repo: str = REPO
    revision: str = "main"
    prefix: str = "datasets"
    endpoint: str | None = None

    def manifest(self) -> tuple[RemoteManifest, bytes, Hub]:
        """The manifest as it is now, its bytes, and this repository at the commit that it is from.

        Raises UnreachableError when the hub does not answer, DataError when there is no such manifest.
        """
        from huggingface_hub import get_hf_file_metadata

        path = self._full("manifest.json")
        with self._errors(path):
            found = get_hf_file_metadata(self._url(path), timeout=_TIMEOUT, endpoint=self.endpoint)
        fixed = Hub(self.repo, found.commit_hash or self.revision, self.prefix, self.endpoint)
        with self._errors(path):
            blob = b"".join(fixed._stream(path, 0))
        try:
            return RemoteManifest.model_validate_json(blob), blob, fixed
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(
                "the manifest on the hub must be one of a FineWeb export",
                got=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
                where=f"{path} of {self.repo}",
            ) from error

    def files(self, paths: Sequence[str]) -> dict[str, HubFile]:
        """What the hub says of files, paths relative to the prefix. Raises DataError if one is not there."""
        from huggingface_hub import HfApi, RepoFile

        api, found = HfApi(endpoint=self.endpoint), {}
        full = [self._full(path) for path in paths]
        for start in range(0, len(full), _PATHS_A_REQUEST):
            asked = full[start : start + _PATHS_A_REQUEST]
            with self._errors(asked[0]):
                infos = api.get_paths_info(self.repo, asked, revision=self.revision, repo_type="dataset")
            for info in infos:
                if isinstance(info, RepoFile):
                    size, sha256 = (info.lfs.size, info.lfs.sha256) if info.lfs else (info.size, None)
                    found[info.path] = HubFile(info.path, size, sha256, info.blob_id)
        if missing := [path for path in full if path not in found]:
            raise DataError(
                "every file that the manifest names must be on the hub",
                got=f"{len(missing)} missing, first {missing[0]}",
                where=f"{self.repo} at {self.revision}",
                fix="choose another --variant or --repo: this one is listed, not hosted",
            )
        return {path: found[whole] for path, whole in zip(paths, full, strict=True)}

    def download(self, file: HubFile, part: Path, report: Callable[[int], None], stop: Event) -> None:
        """Write `file` into `part`, from where an earlier call ended. `report` gets bytes; negative: taken back.

        A cut connection is taken up again, after a pause that grows, until RETRIES attempts in a row brought
        nothing. Raises UnreachableError then, CancelledError after `stop`, DataError when the hub sends another
        number of bytes than it says, OSError.
        """
        failures = 0
        while (have := part.stat().st_size if part.exists() else 0) < file.size:
            try:
                with self._errors(file.path):
                    self._append(file, part, have, report, stop)
            except UnreachableError:
                failures = 0 if part.exists() and part.stat().st_size > have else failures + 1
                if failures > RETRIES or _offline():
                    raise
                stop.wait(_WAIT * 2**failures)
                continue
            size = part.stat().st_size if part.exists() else 0
            if size != file.size:
                part.unlink(missing_ok=True)
                report(-size)
                raise DataError(
                    f"{file.path} must have {file.size:,} bytes, as the hub says", got=f"{size:,} bytes"
                )

    def _append(
        self, file: HubFile, part: Path, have: int, report: Callable[[int], None], stop: Event
    ) -> None:
        with part.open("ab") as out:
            for chunk in self._stream(file.path, have):
                if stop.is_set():
                    raise CancelledError
                if chunk is None:  # the hub begins at the first byte again
                    out.truncate(0)
                    report(-have)
                    continue
                out.write(chunk)
                report(len(chunk))
                if out.tell() > file.size:
                    return

    def _stream(self, path: str, start: int) -> Iterator[Any]:
        """The bytes of a file from `start` on; None first when the hub sends it from its beginning instead."""
        from huggingface_hub import get_session
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with get_session().stream("GET", self._url(path), headers=headers, timeout=_TIMEOUT) as response:
            hf_raise_for_status(response)
            if start and response.status_code != 206:
                yield None
            yield from response.iter_bytes()  # as they come: what is gathered to a size is lost with a cut

    def _full(self, path: str) -> str:
        """The path in the repository; an empty prefix is its root."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def _url(self, path: str) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(
            self.repo, path, repo_type="dataset", revision=self.revision, endpoint=self.endpoint
        )

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """What the library raises, as errors that say what to do."""
        import httpx2
        from huggingface_hub import errors

        where = f"{path} of {self.repo}" + (f" at {self.endpoint}" if self.endpoint else "")
        try:
            yield
        except errors.OfflineModeIsEnabled as error:
            raise UnreachableError(
                "fetching needs the network",
                got="the offline mode of huggingface_hub",
                where=where,
                fix="unset HF_HUB_OFFLINE",
            ) from error
        except errors.HFValidationError as error:
            raise DataError("a repository is OWNER/NAME", got=repr(self.repo), where="--repo") from error
        except errors.RevisionNotFoundError as error:
            raise DataError(f"the repository has no revision {self.revision!r}", where=where) from error
        except errors.RepositoryNotFoundError as error:
            raise DataError(
                "there is no such dataset repository, or it is not open to you",
                got=self.repo,
                where="--repo",
                fix="check the name; for a private one log in with `hf auth login`",
            ) from error
        except errors.EntryNotFoundError as error:
            raise DataError(
                "the file must be on the hub", got="none", where=where, fix="check --prefix and --revision"
            ) from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            kind = UnreachableError if status in (0, 408, 429) or status >= 500 else DataError
            raise kind("the hub must answer", got=f"status {status}", where=where) from error
        except (ValueError, KeyError, TypeError, httpx2.InvalidURL) as error:
            got = f"{type(error).__name__}: {error}"
            raise DataError("the endpoint must be a hub", got=got, where=where) from error
        except httpx2.TransportError as error:
            said = str(error) or type(error).__name__
            fix = "check the network and --endpoint, then run the command again: it goes on where it was"
            raise UnreachableError("the hub must answer", got=said, where=where, fix=fix) from error


def _offline() -> bool:
    from huggingface_hub import is_offline_mode

    return bool(is_offline_mode())
