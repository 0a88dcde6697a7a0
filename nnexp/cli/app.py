"""The command `nnexp`: its subcommands, and what becomes of errors.

Start-up time is a feature: this module and the ones that define commands import what they need
when they are run, so that help and mistakes in a config are quick and torch waits for training.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated, Any

import typer

import nnexp
from nnexp.cli import reference, results
from nnexp.cli.train import train
from nnexp.errors import NnexpError

INTERRUPTED = 130
DEFECT, USAGE, NO_RESOURCES = 1, 2, 6

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""The base of all that typer finds wrong with a command line; its module depends on the version."""

app = typer.Typer(
    name="nnexp",
    help="Does this training choice help on my data, or was it luck?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: importing rich takes longer than printing it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`nnexp COMMAND --help` says more about a command, with examples.",
)
for command in (
    train,
    results.eval_,
    results.compare,
    results.runs,
    results.show,
    reference.ls,
    reference.explain,
    reference.schema,
):
    app.command(command.__name__.rstrip("_"))(command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nnexp {nnexp.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console's entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals that lack a character
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs a command line; its exit code."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        group = typer.main.get_command(app)
        with group.make_context("nnexp", list(arguments)) as context:
            group.invoke(context)
        return 0
    except BrokenPipeError:
        raise
    except typer.Exit as done:
        return done.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    """Says what went wrong; the exit code."""
    if isinstance(error, NnexpError):
        from nnexp.cli.console import show_error

        show_error(error)
        return error.exit_code
    if isinstance(error, _UsageProblem):
        _misused(error)
        return USAGE
    if reason := _lacking(error):
        _say(f"error: {reason}")
        return NO_RESOURCES
    traceback.print_exception(error)
    _say(
        "This is a defect of nnexp, not of your config or data. Please report it with the lines "
        "above and the command that led to it."
    )
    return DEFECT


def _misused(error: Any) -> None:
    """Says what typer finds wrong with a command line; of an empty one, what there is."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    text = error.format_message().replace("Value error, ", "").replace("Input should", "it should")
    _say(f"error: {text.partition(', unable to parse')[0]}")
    if error.ctx is not None:
        _say(f"`{error.ctx.command_path} -h` says how it is used")


def _lacking(error: Exception) -> str:
    """What resource an error says is used up; empty for other errors."""
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f" ({error.filename})" if error.filename else ""
        return f"no space is left on the disk{where}"
    out_of_memory = (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, without importing torch
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    )
    if not out_of_memory:
        return ""
    first = str(error).partition("\n")[0]
    return (
        f"out of memory{f' ({first})' if first else ''}; a smaller batch_size or model needs less"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)
