"""Help: every command says what it does, shows an example, and names each option."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from bytegolf.cli.app import app
from cli_samples import call


def commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below a group with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_help_lists_every_command() -> None:
    listed = call("--help")
    assert listed.code == 0
    assert len(COMMANDS) >= 6
    for name, *_ in COMMANDS:
        assert re.search(rf"^  {name} ", listed.out, re.MULTILINE)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shows_examples_that_parse(words: tuple[str, ...]) -> None:
    answer = call(*words, "--help")
    assert (answer.code, answer.err) == (0, "")
    examples = re.findall(r"Example: `([^`]+)`", answer.out)
    assert examples
    assert not [example for example in examples if "\n" in example], "a line is there to be copied"
    for example in examples:
        program, *rest = shlex.split(example)
        assert program == "bytegolf"
        assert tuple(rest[: len(words)]) == words
        COMMANDS[words].make_context("x", rest[len(words) :])  # raises what the command line would refuse


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_takes_json_and_explains_each_option(words: tuple[str, ...]) -> None:
    parameters = COMMANDS[words].params
    assert "--json" in [option for parameter in parameters for option in parameter.opts]
    assert all(parameter.help for parameter in parameters)


def test_no_command_is_help_and_a_mistake_and_the_version_is_known() -> None:
    bare = call()
    assert (bare.code, bare.out) == (2, "")
    assert "Usage: bytegolf" in bare.err
    from bytegolf import __version__

    assert call("--version").out == f"bytegolf {__version__}\n"
