"""bytegolf generate: text from a packed model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from bytegolf.cli.backends import BACKEND, DEVICE, choose
from bytegolf.cli.output import JSON, Output

HELP = """Continue a prompt with a packed model.

Example: `bytegolf generate runs/pocket/model.golf --prompt "def "`

Example: `bytegolf generate model.golf --prompt "import " --temperature 0.5`
"""


def command(
    artifact: Path = typer.Argument(help="A .golf file."),
    prompt: str = typer.Option("", help="Text to continue; empty starts a document."),
    tokens: int = typer.Option(200, min=1, help="Tokens to draw at most."),
    temperature: float = typer.Option(
        0.9, min=0.0, help="0 takes the most likely token; 1 is the model's own."
    ),
    top_p: float = typer.Option(
        0.95, min=0.0, max=1.0, help="Draw from the likeliest tokens that hold this much."
    ),
    seed: int = typer.Option(1, min=0, help="The same seed draws the same text."),
    backend: str = BACKEND,
    device: str = DEVICE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.score.packed import load_packed
    from bytegolf.score.sample import sample_text

    output = Output(as_json)
    place = choose(output, backend, device)
    packed = load_packed(artifact, place.device, backend=place.backend)
    pieces = sample_text(
        packed.backend,
        packed.tokenizer,
        prompt,
        context=packed.config.model.context,
        tokens=tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    written = []
    if not as_json:
        print(prompt, end="", flush=True)
    for piece in pieces:
        written.append(piece)
        if not as_json:
            print(piece, end="", flush=True)
    if not as_json:
        print()
    result = {"artifact": str(artifact), "prompt": prompt, "text": "".join(written), "seed": seed}
    output.finish(result)
    return result
