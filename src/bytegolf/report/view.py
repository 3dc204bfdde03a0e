"""What the page says of one run, made from its facts: figures drawn, rows sorted, commands spelled out."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bytegolf import registry
from bytegolf.config.adaptation import LoraAdaptation
from bytegolf.config.load import flatten, inline_toml, to_tree
from bytegolf.config.schema import Score as Settings
from bytegolf.report import figures
from bytegolf.report.drawing import Picture
from bytegolf.report.facts import Facts
from bytegolf.report.passage import Passage, readable
from bytegolf.train.results import as_configured
from bytegolf.train.run_dir import CONFIG, MODEL

_EXTREMES = 5  # documents at either end
_BEGINS = 72  # letters of a document that tell it from others
_CUT = 1.25  # bars beyond this many times the longest of the others are cut


@dataclass(frozen=True)
class Strip:
    """A passage, what read it and how; or why there is none, and the command that would make one."""

    passage: Passage | None = None
    device: str = ""
    way: str = ""
    gone: str = ""
    command: str = ""


@dataclass(frozen=True)
class Bar:
    """share: length over the longest. nbytes: compressed, None where nothing was."""

    name: str
    note: str
    bpb: float
    nbytes: int | None
    own: bool
    share: float = 0.0


@dataclass(frozen=True)
class Document:
    """number: in the held-out split, from 0."""

    number: int
    bpb: float
    nbytes: int
    begins: str


@dataclass(frozen=True)
class View:
    """A run as the template takes it. key: what its ids begin with."""

    key: str
    facts: Facts
    strip: Strip
    figures: Mapping[str, Picture | None]

    @property
    def path(self) -> str:
        return shlex.quote(str(self.facts.run.path))

    @property
    def state(self) -> str:
        """`proven`, `examined`, `scored`; before that `packed` and `trained`."""
        facts = self.facts
        if facts.standing is None:
            return "trained"
        return "packed" if facts.scoring is None else facts.standing.state(facts.scoring.facts)

    @property
    def faults(self) -> list[str]:
        """Checks that failed, and a proof that did."""
        standing = self.facts.standing
        checks = standing.verdict["checks"] if standing and standing.verdict else []
        failed = [f"{check['id']} {check['name']}" for check in checks if check["status"] == "fail"]
        lost = standing is not None and standing.proof is not None and not standing.proof["proven"]
        return failed + (["the text did not come back from its compressed file"] if lost else [])

    @property
    def proof_of_score(self) -> bool:
        """Whether the proof is about the score that the headline shows."""
        return self.state == "proven"

    @property
    def learns(self) -> bool:
        """Whether the score is with test-time training."""
        return self.facts.settings.adaptation.kind != "none"

    @property
    def tally(self) -> str:
        """`15 passed, 1 not run`."""
        assert self.facts.standing is not None
        assert self.facts.standing.verdict is not None
        counts = Counter(check["status"] for check in self.facts.standing.verdict["checks"])
        said = {"pass": "passed", "fail": "failed", "not run": "not run"}
        return ", ".join(f"{counts[status]} {word}" for status, word in said.items() if counts[status])

    @property
    def as_configured(self) -> bool:
        return self.facts.scoring is None or as_configured(self.facts.run.config, self.facts.scoring)

    @property
    def configured_way(self) -> str:
        return way(self.facts.run.config.resolved_score)

    @property
    def smoothing(self) -> int:
        """Steps of the time constant of the smoothed loss."""
        return figures.smoothing_steps(len(self.facts.steps["step"]))

    @property
    def last_loss(self) -> float:
        """The smoothed loss at the end, nan for a run without a record of its steps."""
        loss = self.facts.steps["loss"]
        return float(figures.smoothed(loss, self.smoothing)[-1]) if len(loss) else math.nan

    @property
    def ranges(self) -> bool:
        """Whether the raw losses are shown by ranges."""
        return len(self.facts.steps["step"]) > figures.MOST_POINTS

    @property
    def histogram(self) -> bool:
        """Whether there are too many documents to show each."""
        return len(self.facts.document_bpb) > figures.MOST_DOCUMENTS

    @property
    def extremes(self) -> dict[str, list[Document]]:
        """The documents with the most and with the fewest bits per byte; each side at most half of all."""
        bpb = self.facts.document_bpb
        assert self.facts.scoring is not None
        sizes = self.facts.scoring.arrays["document_bytes"]
        order = [i for i in np.argsort(-bpb, kind="stable").tolist() if np.isfinite(bpb[i])]
        shown = min(_EXTREMES, (len(order) + 1) // 2)

        def rows(numbers: list[int]) -> list[Document]:
            return [Document(i, float(bpb[i]), int(sizes[i]), self._begins(i)) for i in numbers]

        easiest = order[len(order) - min(shown, len(order) - shown) :] if len(order) > shown else []
        found = {"Hardest": rows(order[:shown]), "Easiest": rows(easiest[::-1])}
        return {name: members for name, members in found.items() if members}

    def _begins(self, number: int) -> str:
        text, file = self.facts.text, self.facts.file
        if text is None or file is None:
            return ""
        start = text.starts[number] + 1
        stop = [*text.starts, len(text.tokens)][number + 1]
        raw = file.tokenizer.decoder().decode(text.tokens[start : min(stop, start + _BEGINS)])
        words = " ".join(readable(raw).split())
        return words[:_BEGINS] + " …" if len(words) > _BEGINS else words

    @property
    def bars(self) -> list[Bar]:
        """Other compressors and the model, with its bytes and without, the fewest bits first."""
        facts = self.facts
        if facts.scoring is None or not facts.scoring.facts["baselines"]:
            return []
        assert facts.spent is not None
        scored = facts.scoring.facts
        others = [
            Bar(
                name,
                "its dictionary not counted" if "dictionary" in name else "",
                row["bpb"],
                row["bytes"],
                False,
            )
            for name, row in scored["baselines"].items()
            if "bpb" in row
        ]
        coded = scored["bpb"] * scored["bytes"] / 8
        size = facts.spent.total
        alone, together = scored["bpb"], scored["bpb"] + 8 * size / scored["bytes"]
        longest = max([alone, *(bar.bpb for bar in others)])
        beyond = together > _CUT * longest
        scale = longest if beyond else max(longest, together)
        cut = ", beyond the scale" if beyond else ""
        own = [
            Bar("this model", f"its {size:,} bytes not counted", alone, None, True),
            Bar("this model", f"and its own bytes{cut}", together, round(coded) + size, True),
        ]
        return [
            Bar(bar.name, bar.note, bar.bpb, bar.nbytes, bar.own, bar.bpb / scale)
            for bar in sorted([*others, *own], key=lambda bar: bar.bpb)
        ]

    @property
    def pack_differs(self) -> list[str]:
        """Keys under `pack` that the file has otherwise than the run, as `-o` takes them."""
        if self.facts.file is None:
            return []
        ran, packed = (flatten(to_tree(c)) for c in (self.facts.run.config, self.facts.file.config))
        keys = sorted(k for k in packed if k.startswith("pack.") and packed[k] != ran.get(k))
        return [f"{key}={inline_toml(packed[key])}" for key in keys]

    @property
    def commands(self) -> dict[str, str]:
        """What to ask of the packed file, by command."""
        return self._asking(self.facts.run.path)

    @property
    def again(self) -> list[str]:
        """The commands that make the same run again, beside this one."""
        run = self.facts.run
        there = run.path.with_name(f"{run.path.name}-again")
        backend = "" if run.summary["backend"] == "torch" else f" --backend {run.summary['backend']}"
        overrides = "".join(f" -o {shlex.quote(one)}" for one in self.pack_differs)
        config, out = shlex.quote(str(run.path / CONFIG)), shlex.quote(str(there))
        return [
            f"bytegolf train {config}{self._data()} --out {out}{backend}",
            f"bytegolf pack {out}{overrides}",
            *self._asking(there).values(),
        ]

    def _asking(self, run: Path) -> dict[str, str]:
        model, rest = shlex.quote(str(run / MODEL)), self._data() + self._way_options()
        return {name: f"bytegolf {name} {model}{rest}" for name in ("score", "verify", "prove")}

    def _data(self) -> str:
        data = self.facts.run.summary["data"]
        name = data["name"] if data["name"] in registry.names("corpus") else data["folder"]
        return f" --data {shlex.quote(name)}"

    def _way_options(self) -> str:
        """Options for a score that is not by the settings of the config."""
        if self.as_configured or self.facts.scoring is None:
            return ""
        given = flatten({"score": self.facts.scoring.facts["score"]})
        return "".join(f" -o {shlex.quote(f'{key}={inline_toml(value)}')}" for key, value in given.items())

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of everything that has one, by what it is."""
        facts, data = self.facts, self.facts.run.summary["data"]
        proof = facts.standing.proof if facts.standing else None
        named = {
            "Packed file": facts.file.sha256 if facts.file else None,
            "Scored text": facts.scoring.facts["text_sha256"] if facts.scoring else None,
            "Compressed text": proof["coded"]["sha256"] if proof else None,
            "Training data": data["train_sha256"],
            "Held-out data": data["val_sha256"],
            "Tokenizer": data["tokenizer_sha256"],
            "Recipe": facts.recipe,
        }
        return {name: digest for name, digest in named.items() if digest}


def way(settings: Settings | Mapping[str, Any]) -> str:
    """`context 2,048, stride 512, documents in one stream, no test-time training`."""
    if not isinstance(settings, Settings):
        settings = Settings.model_validate(settings)
    kind = settings.adaptation
    learning = "no test-time training" if kind.kind == "none" else f"test-time training by {kind.kind}"
    moves = f"chunks of {kind.chunk:,}" if isinstance(kind, LoraAdaptation) else f"stride {settings.stride:,}"
    order = "each document on its own" if settings.documents == "isolated" else "documents in one stream"
    return f"context {settings.context:,}, {moves}, {order}, {learning}"


def view_of(key: str, facts: Facts, strip: Strip, tell: Callable[[str], None] = lambda line: None) -> View:
    """Draw the figures that the facts allow. Cost: about a second a run."""
    tell("drawing")
    drawn: dict[str, Picture | None] = dict.fromkeys(("training", "byte_map", "quantization", "bits"))
    if len(facts.steps["step"]):
        drawn["training"] = figures.training(facts, f"{key}training")
    if facts.spent is not None and facts.file is not None:
        roles = {tensor.name: tensor.role for tensor in facts.file.artifact.tensors}
        drawn["byte_map"] = figures.byte_map(facts.spent, roles, f"{key}bytes")
    if facts.errors:
        drawn["quantization"] = figures.quantization(facts.errors, f"{key}errors")
    if np.isfinite(facts.document_bpb).any():
        drawn["bits"] = figures.bits_by_place(facts, f"{key}bits")
    return View(key, facts, strip, drawn)
