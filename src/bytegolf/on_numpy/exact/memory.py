"""What a part of the model keeps between tokens, one entry a lane."""

from __future__ import annotations

from typing import Any


class Memory:
    """Arrays with the lanes on their first axis, and lists with one element a lane."""

    def __init__(self, **entries: Any) -> None:
        self.entries = entries

    def __getitem__(self, key: str) -> Any:
        return self.entries[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.entries[key] = value

    def keep(self, lanes: list[int]) -> None:
        """Forget every other lane."""
        for key, value in self.entries.items():
            self.entries[key] = [value[i] for i in lanes] if isinstance(value, list) else value[lanes]
