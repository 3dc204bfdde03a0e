"""Write what a bundle holds into a folder. It needs nothing that is not in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def main(files: Mapping[str, str], script: str, words: Sequence[str]) -> int:
    """words: "unpack" and a folder. files: what is packed in the script, config.toml among it."""
    folder = Path(words[1] if len(words) > 1 else "unpacked")
    for name, text in files.items():
        inside = any(other.startswith(f"{name}.") for other in files)
        file = (
            name if name == "config.toml" else name.replace(".", "/") + ("/__init__.py" if inside else ".py")
        )
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    print(f"{len(files)} files of {script} in {folder}")
    return 0
