"""What a verb is to the rest of the command line: its name, its flags, its help, and what does it."""

import textwrap
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from orchestra.cli.flags import GLOBALS, Flag
from orchestra.cli.session import Session


@dataclass(frozen=True, slots=True)
class Command:
    """One verb, or a verb with verbs of its own (`rollout status`).

    usage: what stands after its name. examples: lines as typed, a comment above each.
    process: for a command that is a process of its own (`up`, `master`, `agent`) and brings its event loop.
    """

    name: str
    summary: str
    usage: str = ""
    flags: tuple[Flag, ...] = ()
    examples: str = ""
    run: Callable[[Session], Awaitable[int]] | None = None
    commands: tuple["Command", ...] = ()
    process: Callable[[Session], int] | None = None

    def help(self) -> str:
        """The text of --help."""
        parts = [self.summary]
        if self.examples:
            parts.append("Examples:\n" + textwrap.indent(textwrap.dedent(self.examples).strip("\n"), "  "))
        if self.commands:
            wide = max(len(command.name.rsplit(" ", 1)[-1]) for command in self.commands) + 2
            rows = [f"  {c.name.rsplit(' ', 1)[-1]:<{wide}}{c.summary}" for c in self.commands]
            parts.append("Available Commands:\n" + "\n".join(rows))
        if self.flags:
            parts.append("Options:\n" + _flag_help(self.flags))
        parts.append(f"Usage:\n  orchestra {self.name} {self.usage or '[options]'}")
        parts.append('Use "orchestra options" for the global options, which go with every command.')
        return "\n\n".join(parts) + "\n"


def _flag_help(flags: Sequence[Flag]) -> str:
    rows = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        start = flag.start
        if flag.shape == "bool":
            shown = str(start).lower()
        elif flag.shape == "duration":
            shown = f"{start:g}s"
        elif flag.shape in ("list", "array"):
            shown = "[]"
        else:
            shown = repr(start) if isinstance(start, str) else str(start)
        short = f"-{flag.short}, " if flag.short else ""
        said = textwrap.fill(_said(flag), 96, initial_indent="\t", subsequent_indent="\t")
        rows.append(f"    {short}--{flag.name}={shown}:\n{said}")
    return "\n\n".join(rows)


def _said(flag: Flag) -> str:
    told = all(choice in flag.help for choice in flag.choices if choice != flag.start)
    return flag.help if told else f"{flag.help} One of {', '.join(flag.choices)}."


def global_help() -> str:
    """The text of `orchestra options`."""
    return "The following options can be passed to any command:\n\n" + _flag_help(GLOBALS) + "\n"
