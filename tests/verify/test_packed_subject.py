"""The battery on packed models: every legal way to score passes, training on the text before it is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bytegolf.artifact.format import write
from bytegolf.config.schema import Score as Settings
from bytegolf.data.dataset import Dataset
from bytegolf.score.packed import Packed, load_packed
from bytegolf.train.export import export
from bytegolf.train.fit import fit
from bytegolf.verify.battery import examine
from bytegolf.verify.check import Case
from bytegolf.verify.packed import PackedSubject
from cheats.illegal_ttt import IllegalSubject
from tiny import tiny_config, tiny_dataset

SGD = {"kind": "sgd", "chunk": 40, "lr": 0.05, "epochs": 1}
WAYS: dict[str, dict[str, Any]] = {
    "no overlap": {"stride": 16},
    "sliding": {"stride": 4},
    "isolated": {"stride": 4, "documents": "isolated"},
    "longer than in training": {"context": 40, "stride": 8},
    "sgd": {"stride": 4, "adaptation": SGD},
    "sgd, isolated": {"stride": 4, "adaptation": SGD, "documents": "isolated"},
    "adamw": {"stride": 4, "adaptation": {"kind": "adamw", "chunk": 30, "lr": 0.01, "freeze": ["embed"]}},
    "lora": {
        "stride": 4,
        "documents": "isolated",
        "adaptation": {"kind": "lora", "chunk": 8, "rank": 2, "documents": 3},
    },
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="module")
def packed(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Packed, Path]:
    folder = tmp_path_factory.mktemp("packed")
    config = tiny_config("train.steps=150")
    write(folder / "model.golf", export(fit(config, dataset, folder / "run", device="cpu"), config))
    return load_packed(folder / "model.golf", device="cpu"), folder / "model.golf"


def case(subject: type[PackedSubject], packed: tuple[Packed, Path], dataset: Dataset, way: str) -> Case:
    settings = Settings.model_validate({"context": 16, **WAYS[way]})
    texts = {
        split: [dataset.tokenizer.decode(d) for d in dataset.documents(split)] for split in ("train", "val")
    }
    # Small, so many documents of the training text stand in: they are text like any other here.
    documents = texts["val"] + texts["train"][:12]
    return Case(subject(packed[0], settings, packed[1]), documents, sample=160, files=[packed[1]])


@pytest.mark.parametrize("way", WAYS)
def test_every_legal_way_to_score_passes(way: str, packed: Any, dataset: Dataset) -> None:
    findings = list(examine(case(PackedSubject, packed, dataset, way)))
    assert not [(f.id, f.measured) for f in findings if f.status == "fail"]
    assert {"T0", "T1", "T2", "T3", "T5", "T16"} <= {f.id for f in findings if f.status == "pass"}


@pytest.mark.parametrize("way", ["sgd", "adamw"])
def test_training_before_the_score_is_found(way: str, packed: Any, dataset: Dataset) -> None:
    findings = {f.id: f for f in examine(case(IllegalSubject, packed, dataset, way))}
    assert findings["T2"].status == "fail"
    assert findings["T5"].status == "fail"
