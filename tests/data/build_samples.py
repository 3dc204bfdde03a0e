"""Sources on disk, and what a build of one must give: the definition, in memory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from bytegolf.data.corpora import Document
from bytegolf.data.source import from_source
from bytegolf.data.split import split
from bytegolf.data.tokenizer import ByteTokenizer, Learner


def write_lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def write_file(path: Path, texts: list[str]) -> Path:
    path.write_text("\n".join(texts))
    return path


def write_folder(path: Path, texts: list[str]) -> Path:
    path.mkdir()
    for number, text in enumerate(texts):
        file = path / ["", "a", "a.b", "a/c", "a-d"][number % 5] / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


FORMS = {"t.jsonl": write_lines, "t.txt": write_file, "t": write_folder}


def defined(source: Path, kind: type[Learner] = ByteTokenizer, vocab: int = 257) -> dict[str, object]:
    """Documents, bytes, sha256 of the text and tokens of both sides, and the tokenizer."""
    sides = split(from_source(source).documents)
    train = sorted(sides.train, key=lambda d: hashlib.sha256(d.name.encode()).digest())
    learner = kind.learn([document.data for document in train], vocab)
    return {
        "tokenizer": learner.to_bytes(),
        "moved": [len(sides.moved), sum(len(document.data) for document in sides.moved)],
        "train": side(train, learner),
        "val": side(sides.held_out, learner),
    }


def side(documents: list[Document], learner: Learner) -> list[object]:
    ids = [np.append(np.uint16(0), learner.encode(document.data)) for document in documents]
    text = b"".join(document.data for document in documents)
    tokens = np.concatenate(ids)
    counts = learner.byte_counts(tokens).tolist()
    return [len(documents), len(text), hashlib.sha256(text).hexdigest(), tokens.tolist(), counts]


def found(folder: Path) -> dict[str, object]:
    """The same of a dataset."""
    from bytegolf.data.dataset import open_dataset

    dataset = open_dataset(folder)
    dataset.verify()
    moved, splits = dataset.manifest.moved_near_duplicates, dataset.manifest.splits
    facts: dict[str, object] = {
        "tokenizer": dataset.tokenizer.to_bytes(),
        "moved": [moved.documents, moved.bytes],
    }
    for name, entry in (("train", splits.train), ("val", splits.val)):
        tokens, counts = dataset.tokens(name), dataset.byte_counts(name)  # type: ignore[arg-type]
        facts[name] = [entry.documents, entry.bytes, entry.sha256, tokens.tolist(), counts.tolist()]
    return facts


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
