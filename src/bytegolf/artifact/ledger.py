"""Who spent which bytes of an artifact, whether it keeps its budget, and which other codecs would."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bytegolf import registry
from bytegolf.artifact.format import FIXED_BYTES, Artifact, encode_header
from bytegolf.artifact.pack import check_cover, encode
from bytegolf.codec import base
from bytegolf.errors import ArtifactError, BudgetError

Choice = tuple[tuple[str, str], ...]  # (role, its new codec), one or more
Alternative = tuple[str, int]  # a change of the config, and the artifact's total bytes after it
_MOST = 4


@dataclass(frozen=True)
class Row:
    """The bytes of a role, or of a tensor; `name` is the role's or the tensor's, `tensors` counts them."""

    name: str
    codec: str
    tensors: int
    elements: int
    bytes: int

    @property
    def bits_per_weight(self) -> float:
        """8 bytes / elements; 0 for no elements."""
        return 8 * self.bytes / self.elements if self.elements else 0.0

    def to_json(self) -> dict[str, Any]:
        """The fields and the bits per weight."""
        return asdict(self) | {"bits_per_weight": round(self.bits_per_weight, 4)}


@dataclass(frozen=True)
class Ledger:
    """Every byte of a file, once: total = roles + tokenizer + header + fixed.

    `fixed` is what every .golf file has: magic, version, lengths, checksums. `tensors` splits `roles`.
    """

    roles: tuple[Row, ...]
    tokenizer: int
    header: int
    fixed: int
    tensors: tuple[Row, ...]

    @property
    def beside(self) -> dict[str, int]:
        """The bytes of what is no weight, by the name a table shows."""
        return {"tokenizer": self.tokenizer, "header": self.header, "checksums": self.fixed}

    @property
    def total(self) -> int:
        """The size of the file in bytes."""
        return sum(row.bytes for row in self.roles) + sum(self.beside.values())

    def to_json(self, per_tensor: bool = False) -> dict[str, Any]:
        """A plain dict; the tensors' rows on request."""
        fields: dict[str, Any] = {
            "total": self.total,
            "roles": [row.to_json() for row in self.roles],
            "tokenizer": self.tokenizer,
            "header": self.header,
            "fixed": self.fixed,
        }
        return fields | ({"tensors": [row.to_json() for row in self.tensors]} if per_tensor else {})


def ledger(artifact: Artifact) -> Ledger:
    """The ledger of an artifact; its total is len(to_bytes(artifact)). Roles in order of first appearance."""
    tensors = tuple(Row(t.name, t.codec, 1, math.prod(t.shape), len(t.blob)) for t in artifact.tensors)
    roles = by_role([tensor.role for tensor in artifact.tensors], tensors)
    header = len(encode_header(artifact))
    return Ledger(roles, len(artifact.tokenizer.blob), header, FIXED_BYTES, tensors)


def by_role(roles: Sequence[str], tensors: Sequence[Row]) -> tuple[Row, ...]:
    """One row a role, in order of first appearance; `roles` are those of `tensors`."""
    members: dict[str, list[Row]] = {}
    for role, row in zip(roles, tensors, strict=True):
        members.setdefault(role, []).append(row)
    return tuple(
        Row(
            role,
            " ".join(dict.fromkeys(row.codec for row in rows)),
            len(rows),
            sum(row.elements for row in rows),
            sum(row.bytes for row in rows),
        )
        for role, rows in members.items()
    )


def within(spent: Artifact | Ledger, budget: int, alternatives: Sequence[Alternative] = ()) -> None:
    """Raise BudgetError, with the alternatives that would fit, when the artifact is larger than `budget` bytes."""
    total = (ledger(spent) if isinstance(spent, Artifact) else spent).total
    if total <= budget:
        return
    fitting = [f"{change} gives {size:,} bytes" for change, size in alternatives if size <= budget]
    if fitting:
        fix = "these changes would fit:\n     " + "\n     ".join(fitting)
    elif alternatives:
        change, size = min(alternatives, key=lambda alternative: alternative[1])
        fix = f"no codecs fit: the smallest reachable is {size:,} bytes ({change}); train a smaller model"
    else:
        fix = "choose smaller codecs, train a smaller model, or raise the budget"
    raise BudgetError(
        f"the artifact must fit into {budget:,} bytes",
        got=f"{total:,} bytes, {total - budget:,} too many",
        fix=fix,
    )


def suggest(
    weights: Mapping[str, NDArray[np.float32]],
    roles: Mapping[str, str],
    codecs: Mapping[str, str],
    artifact_total: int,
    budget: int,
    pinned: Collection[str] = (),
) -> list[Alternative]:
    """Changes of codecs that fit, at most four, nearest to the budget first: (the option to give, total bytes).

    One role at a time, then pairs of roles neither of which suffices alone. When none of these fits: one entry,
    the smallest size that any codecs reach (it may take more than two changes, and may fit or not). `pinned`
    tensors keep their codec. The totals come from real encodings and count the names of the codecs in the header;
    codecs that only reproduce a published flaw are not proposed. Cost: one encoding of the weights a codec.
    """
    check_cover(weights, roles, codecs)
    changes: dict[str, dict[str, int]] = {}
    for role in dict.fromkeys(roles.values()):
        arrays = {name: weights[name] for name in weights if roles[name] == role and name not in pinned}
        now = _role_bytes(arrays, codecs[role])
        proposed = [c for c in registry.names("codec") if c != codecs[role] and not base.get(c).flawed]
        sizes = {codec: _role_bytes(arrays, codec) for codec in proposed}
        changes[role] = {c: size - now for c, size in sizes.items() if size is not None and now is not None}
    return [(_describe(choice), size) for choice, size in choices(changes, artifact_total, budget)]


def choices(changes: Mapping[str, Mapping[str, int]], total: int, budget: int) -> list[tuple[Choice, int]]:
    """Which codecs to change so that a file of `total` bytes fits, and its bytes after: as `suggest` orders them.

    changes: role -> codec -> by how many bytes the file grows with it.
    """
    singles = [((role, codec),) for role in changes for codec in changes[role]]
    after = {option: total + changes[option[0][0]][option[0][1]] for option in singles}
    found: list[tuple[Choice, int]] = [
        (option, after[option]) for option in singles if after[option] <= budget
    ]
    short = [option[0] for option in singles if budget < after[option] < total]
    for (role_a, codec_a), (role_b, codec_b) in combinations(short, 2):
        size = total + changes[role_a][codec_a] + changes[role_b][codec_b]
        if role_a != role_b and size <= budget:
            found.append((((role_a, codec_a), (role_b, codec_b)), size))
    return sorted(found, key=lambda choice: -choice[1])[:_MOST] or _smallest(changes, total)


def _role_bytes(arrays: Mapping[str, NDArray[np.float32]], codec: str) -> int | None:
    """Bytes that change with the codec: the blobs, the digits of their lengths, the codec's name once a tensor
    and once in the config. None when the codec cannot hold a weight.
    """
    try:
        sizes = [len(encode(name, array, codec)) for name, array in arrays.items()]
    except ArtifactError:
        return None
    return sum(size + len(str(size)) + len(codec) for size in sizes) + len(codec)


def _smallest(changes: Mapping[str, Mapping[str, int]], total: int) -> list[tuple[Choice, int]]:
    best = [(role, min(by.items(), key=lambda item: item[1])) for role, by in changes.items() if by]
    useful = [(role, codec, delta) for role, (codec, delta) in best if delta < 0]
    if not useful:
        return []
    choice = tuple((role, codec) for role, codec, _ in useful)
    return [(choice, total + sum(delta for *_, delta in useful))]


def _describe(changes: Choice) -> str:
    return " ".join(f"-o pack.codecs.{role}={codec}" for role, codec in changes)
