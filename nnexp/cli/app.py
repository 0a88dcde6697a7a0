"""The command `nnexp`: its subcommands, and what becomes of errors.

Start-up time is a feature: this module and the ones that define commands import what they need
when they are run, so that help and mistakes in a config are quick and torch waits for training.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import nnexp
from nnexp.cli import reference, results, words
from nnexp.cli.ablate import ablate
from nnexp.cli.check import check
from nnexp.cli.curve import curve
from nnexp.cli.diagnose import diagnose
from nnexp.cli.ensemble import ensemble
from nnexp.cli.export import export
from nnexp.cli.importance import importance
from nnexp.cli.init import init
from nnexp.cli.plot import plot
from nnexp.cli.predict import predict
from nnexp.cli.report import report
from nnexp.cli.sweep import sweep
from nnexp.cli.threshold import threshold
from nnexp.cli.trace import trace
from nnexp.cli.train import train
from nnexp.errors import ConfigError, NnexpError, PluginNeeded, UsageError

INTERRUPTED = 130
DEFECT, USAGE, NO_RESOURCES = 1, 2, 6

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""The base of all that typer finds wrong with a command line; its module depends on the version."""

SECTIONS: dict[str, tuple[Any, ...]] = {
    "Begin": (init, check),
    "Train": (train, sweep, ablate, curve),
    "Judge": (results.eval_, results.compare, diagnose, threshold, importance),
    "Look": (results.runs, results.show, report, plot),
    "Use": (predict, ensemble, export),
    "Words": (words.neighbours, words.similarity, words.analogies, words.fill, words.vectors),
    "Learn": (reference.ls, reference.explain, reference.schema, trace),
}
"""The commands, as help lists them."""


def _named(command: Any) -> str:
    """What a command is called."""
    if isinstance(command, typer.Typer):
        return str(command.info.name)
    return str(command.__name__).rstrip("_")


WIDEST = max(len(_named(command)) for command in chain.from_iterable(SECTIONS.values()))


class _Sections(TyperGroup):
    """Help with the commands under headings."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in SECTIONS.items():
            named = [(name, self.get_command(ctx, name)) for name in map(_named, commands)]
            with formatter.section(title):
                limit = formatter.width - 6 - WIDEST
                rows = [(f"{name:{WIDEST}}", c.get_short_help_str(limit)) for name, c in named if c]
                formatter.write_dl(rows)


app = typer.Typer(
    cls=_Sections,
    name="nnexp",
    help="Does this training choice help on my data, or was it luck?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: importing rich takes longer than printing it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`nnexp COMMAND --help` says more about a command, with examples.",
)
for command in chain.from_iterable(SECTIONS.values()):
    if isinstance(command, typer.Typer):
        app.add_typer(command)
    else:
        app.command(_named(command))(command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nnexp {nnexp.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Python file with components of your own; it is run; repeatable."
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 – its callback has dealt with it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if plugin:
        from nnexp.config.plugins import plugged

        context.with_resource(plugged(plugin))


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
        plugins, rest = _divided(arguments)
        group = typer.main.get_command(app)
        with group.make_context("nnexp", [*plugins, *rest]) as context:
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
        return _failed(error, arguments)


def _divided(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The `--plugin` options, which may stand after the command as well, and all else."""
    plugins: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            rest += [argument, *left]
        elif argument.startswith("--plugin="):
            plugins.append(argument)
        elif argument == "--plugin":
            file = next(left, "")
            if not file.endswith(".py"):
                raise UsageError("--plugin needs a Python file: nnexp --plugin FILE.py COMMAND …")
            plugins += [argument, file]
        else:
            rest.append(argument)
    return plugins, rest


def _failed(error: Exception, arguments: Sequence[str]) -> int:
    """Says what went wrong; the exit code."""
    if isinstance(error, NnexpError):
        from nnexp.cli.console import note, show_error

        show_error(error)
        if advice := _on_plugins(error, arguments):
            note(advice)
        return error.exit_code
    if isinstance(error, _UsageProblem):
        _misused(error)
        return USAGE
    if reason := _lacking(error):
        _say(f"error: {reason}")
        return NO_RESOURCES
    if place := _in_plugin(error):
        _say(f"error: {place}")
        return USAGE
    traceback.print_exception(error)
    if _has_plugin(arguments):
        _say("A plugin was in use: what it gave may have led to this. If it did not:")
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


def _on_plugins(error: NnexpError, arguments: Sequence[str]) -> str:
    """What to do if it is a plugin that lacks; empty if none does."""
    if isinstance(error, PluginNeeded) and error.copies:
        _, rest = _divided(arguments)
        plugins = (part for path in error.copies for part in ("--plugin", str(path)))
        command = shlex.join(["nnexp", *plugins, *rest])
        return f"its own copy will do (that runs it: if the run isn't yours, read it):\n  {command}"
    if isinstance(error, ConfigError) and not _has_plugin(arguments):
        unknown = (p for p in error.problems if p.message.startswith("there is no such"))
        if not all(problem.hint for problem in unknown):
            return "components of your own are found with: nnexp --plugin FILE.py COMMAND …"
    return ""


def _has_plugin(arguments: Sequence[str]) -> bool:
    return any(argument.startswith("--plugin") for argument in arguments)


def _in_plugin(error: Exception) -> str:
    """Where a plugin's code failed; empty if there is none, or something else failed."""
    if "nnexp.config.plugins" not in sys.modules:
        return ""
    from nnexp.config.plugins import blame

    return blame(error)


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
