"""Which optimizer gets which tensors: the role table applied to a model, for every backend alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bytegolf.config.schema import AdamW, Muon, Role, Train
from bytegolf.errors import ConfigError


@dataclass(frozen=True)
class Group:
    """The tensors of one role, by manifest name, and the optimizer that moves them."""

    role: Role
    names: tuple[str, ...]
    config: Muon | AdamW


def groups(shapes: Mapping[str, tuple[int, ...]], roles: Mapping[str, Role], train: Train) -> list[Group]:
    """One group per role of the model, in the order in which the roles first occur; each tensor is in one of them.

    Raises ConfigError when a role of the model has no optimizer, or Muon gets a tensor that is no matrix.
    """
    assert shapes.keys() == roles.keys()
    found = []
    for role in dict.fromkeys(roles.values()):
        names = tuple(name for name in shapes if roles[name] == role)
        config = train.optimizers.get(role)
        if config is None:
            raise ConfigError(
                "every role of the model needs an optimizer",
                got=f"{len(names)} tensors of role {role!r} without one",
                where=f"train.optimizers.{role}",
                fix=f"e.g. -o train.optimizers.{role}='{{kind=\"adamw\", lr=0.02}}'",
            )
        if isinstance(config, Muon) and any(len(shapes[name]) != 2 for name in names):
            raise ConfigError(
                "muon orthogonalises matrices",
                got=f"role {role!r}, which holds vectors or scalars",
                where=f"train.optimizers.{role}.kind",
                fix="use adamw for this role",
            )
        found.append(Group(role, names, config))
    return found
