"""bytegolf presets list | show | diff: what a preset sets, where each value comes from, what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli.configs import CONFIG, OVERRIDE, SHRINK, load
from bytegolf.cli.output import JSON, Output

if TYPE_CHECKING:
    from bytegolf.artifact.predict import Prediction
    from bytegolf.config.schema import Config
    from bytegolf.model.spec import Manifest

app = typer.Typer(no_args_is_help=True, help="List the presets, show one, compare two.")

LIST_HELP = """List the presets that ship with bytegolf.

NAME is a system as it should have been; NAME-as-published has the flaws of the published one, as far as they are
settings, so that their price can be measured.

Example: `bytegolf presets list`
"""

SHOW_HELP = """Show a preset: every value and where it comes from, parameters by role, operations, predicted bytes.

Example: `bytegolf presets show pr162-bigram-swa`

Example: `bytegolf presets show pr162-bigram-swa -o model.layers=10 --json`
"""

DIFF_HELP = """Show where two presets differ, after `extends` and defaults are resolved.

Two runs whose resolved configs do not differ are two seeds of one system, whatever their names say.

Example: `bytegolf presets diff pr162-bigram-swa pr180-int5`
"""


@app.command("list", help=LIST_HELP)
def list_presets(as_json: bool = JSON) -> dict[str, Any]:
    from bytegolf.config.load import load_config, preset_names
    from bytegolf.model.spec import manifest

    output = Output(as_json)
    configs = [load_config(name) for name in preset_names()]
    rows = [(c.name, manifest(c.model).parameters, c.about) for c in configs]
    output.columns(["preset", "parameters", "about"], [[name, f"{n:>10,}", about] for name, n, about in rows])
    result = {"presets": [{"name": name, "parameters": n, "about": about} for name, n, about in rows]}
    output.finish(result)
    return result


@app.command("show", help=SHOW_HELP)
def show(
    config: str = CONFIG, override: list[str] = OVERRIDE, shrink: bool = SHRINK, as_json: bool = JSON
) -> dict[str, Any]:
    from bytegolf.config.load import inline_toml, to_tree, traced_config
    from bytegolf.model.spec import flops_per_token, manifest
    from bytegolf.train.plan import predicted

    output = Output(as_json)
    if shrink:
        resolved = load(config, override, shrink)
        settings = _origins_when_shrunk(resolved, config)
    else:
        resolved, settings = traced_config(config, override)
    tensors = manifest(resolved.model)
    prediction = predicted(resolved)  # before anything is printed: it may refuse
    output.show(f"{resolved.name}: {resolved.about}")
    output.show()
    listed = {key: s for key, s in settings.items() if key not in ("name", "about")}
    output.columns(["key", "value", "from"], [[k, inline_toml(s.value), s.origin] for k, s in listed.items()])
    output.show()
    low, high = prediction.interval
    output.table(
        ["role", "parameters", "codec", "predicted bytes"],
        _rows(tensors, prediction),
        title=f"{tensors.parameters:,} parameters, about {prediction.total:,} bytes ({low:,} to {high:,})",
    )
    if tensors.dead:
        names = ", ".join(sorted(tensors.dead))
        output.show(f"dead: {tensors.dead_parameters():,} parameters never get a gradient ({names})")
    flops = flops_per_token(resolved.model)
    output.show(f"{flops:,} operations per token forward at full context, three times that in training")
    result = {
        "name": resolved.name,
        "about": resolved.about,
        "parameters": tensors.parameters,
        "parameters_by_role": tensors.parameters_by_role(),
        "dead_parameters": {t.name: t.size for t in tensors.tensors if t.name in tensors.dead},
        "flops_per_token": flops,
        "predicted_bytes": prediction.to_json(),
        "settings": {key: {"value": s.value, "from": s.origin} for key, s in settings.items()},
        "config": to_tree(resolved),
    }
    output.finish(result)
    return result


@app.command("diff", help=DIFF_HELP)
def diff(
    first: str = typer.Argument(metavar="A", help="A preset or a TOML file."),
    second: str = typer.Argument(metavar="B", help="Another."),
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.config.load import flatten, inline_toml, load_config, to_tree

    output = Output(as_json)
    a, b = (flatten(to_tree(load_config(source))) for source in (first, second))
    keys = [key for key in dict.fromkeys((*a, *b)) if key not in ("name", "about")]
    differing = {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}
    if differing:
        rows = [
            [key, *("-" if v is None else inline_toml(v) for v in pair)] for key, pair in differing.items()
        ]
        output.columns(["key", first, second], rows)
    else:
        output.show(f"{first} and {second} do not differ: two runs of them are two runs of one system")
    result = {"differences": {key: {"a": va, "b": vb} for key, (va, vb) in differing.items()}}
    output.finish(result)
    return result


def _rows(tensors: Manifest, prediction: Prediction) -> list[list[str]]:
    """A row per role, then what is no weight."""
    parameters, ledger = tensors.parameters_by_role(), prediction.expected
    rows = [[r.name, f"{parameters[r.name]:,}", r.codec, f"{r.bytes:,}"] for r in ledger.roles]
    return rows + [[name, "", "", f"{size:,}"] for name, size in ledger.beside.items()]


def _origins_when_shrunk(config: Config, source: str) -> dict[str, Any]:
    from bytegolf.config.load import Setting, flatten, to_tree, traced_config

    before = traced_config(source)[1]
    after = flatten(to_tree(config))
    return {
        key: before[key] if key in before and before[key].value == value else Setting(value, "--shrink or -o")
        for key, value in after.items()
    }
