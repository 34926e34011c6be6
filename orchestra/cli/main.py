"""`orchestra`: the entry.

Finds the verb, loads its module and no other, runs it, and turns what went wrong into one clear line and an
exit code: 0 fine, 1 the request failed, 2 wrong usage, 130 interrupted.
"""

import asyncio
import difflib
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli.command import Command, global_help
from orchestra.cli.config import settle
from orchestra.cli.flags import GLOBALS, parse, split_verb
from orchestra.cli.session import Session, put

OK, FAILED, USAGE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141

# Verb: its module under orchestra.cli, its group in --help, one line. The module's COMMANDS has the rest.
_GROUPS = (
    "Cluster on this machine",
    "Basic Commands",
    "Deploy Commands",
    "Cluster Management Commands",
    "Troubleshooting Commands",
    "Advanced Commands",
    "Settings Commands",
)
_RUN, _BASIC, _DEPLOY, _MANAGE, _TROUBLE, _ADVANCED, _OTHER = _GROUPS
VERBS: dict[str, tuple[str, str, str]] = {
    "up": ("up", _RUN, "Run a whole cluster on this machine, and an application on it"),
    "master": ("master", _RUN, "Run a master"),
    "agent": ("agent", _RUN, "Run an agent: this machine becomes a node"),
    "get": ("verbs.get", _BASIC, "Display one or many resources"),
    "create": ("verbs.create", _BASIC, "Create a resource from a file, from stdin or from flags"),
    "run": ("verbs.run", _BASIC, "Run one pod"),
    "explain": ("verbs.explain", _BASIC, "Get documentation for a resource and its fields"),
    "edit": ("verbs.edit", _BASIC, "Edit a resource on the server"),
    "delete": ("verbs.delete", _BASIC, "Delete resources by file, by name, or by label"),
    "rollout": ("verbs.rollout", _DEPLOY, "Manage the rollout of a deployment"),
    "scale": (
        "verbs.scale",
        _DEPLOY,
        "Set a new size for a deployment, replica set or replication controller",
    ),
    "cluster-info": ("verbs.cluster_info", _MANAGE, "Display where the master answers and how it fares"),
    "member": ("verbs.member", _MANAGE, "List and change the masters of the cluster"),
    "snapshot": ("verbs.snapshot", _MANAGE, "Save the whole store to a file, and restore it"),
    "cordon": ("verbs.cordon", _MANAGE, "Mark a node as unschedulable"),
    "uncordon": ("verbs.cordon", _MANAGE, "Mark a node as schedulable"),
    "describe": ("verbs.describe", _TROUBLE, "Show details of a resource or of a group of resources"),
    "logs": ("verbs.logs", _TROUBLE, "Print the output of a container"),
    "events": ("verbs.events", _TROUBLE, "List events"),
    "apply": ("verbs.apply", _ADVANCED, "Make the cluster what a file or stdin says"),
    "patch": ("verbs.patch", _ADVANCED, "Update fields of a resource"),
    "wait": ("verbs.wait", _ADVANCED, "Wait for a condition of one or many resources"),
    "label": ("verbs.label", _OTHER, "Update the labels of a resource"),
    "annotate": ("verbs.label", _OTHER, "Update the annotations of a resource"),
    "completion": ("verbs.completion", _OTHER, "Print the shell completion code (bash, zsh or fish)"),
    "api-resources": ("verbs.api_resources", _OTHER, "Print the resources that the server knows"),
    "api-versions": ("verbs.api_resources", _OTHER, "Print the API versions that the server knows"),
    "config": ("verbs.config", _OTHER, "Show and change the configuration file"),
    "version": ("verbs.version", _OTHER, "Print the client's and the server's version"),
}
_HIDDEN = {"__complete": "verbs.completion"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one line; answers with the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # A stream that the shell closed (`>&-`) is None: what goes there goes nowhere.
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        line = read_line(arguments)
        code = (
            line if isinstance(line, int) else line.process() if line.is_process else asyncio.run(line.run())
        )
        return _flush(code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing to tell anybody.
        _forget_output()
        return PIPE_CLOSED


def _flush(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if code == OK:
            sys.stderr.write(f"error: cannot write to standard output: {error.strerror}\n")
        _forget_output()
        return code or FAILED
    return code


def _forget_output() -> None:
    """The interpreter must not try again, at its exit, to write what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@dataclass(slots=True)
class Line:
    """A line that has been read: a command, and the session it runs with."""

    command: Command
    session: Session
    verbose: bool
    errors: TextIO

    @property
    def is_process(self) -> bool:
        """True for what makes an event loop of its own."""
        return self.command.process is not None

    def process(self) -> int:
        """Runs a process to its end; answers with the exit code."""
        assert self.command.process is not None
        try:
            return self.command.process(self.session)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - the last place that can turn a defect into a sentence
            return _report(error, self.command.name, self.errors, self.verbose)

    async def run(self) -> int:
        """Runs a request; answers with the exit code."""
        assert self.command.run is not None
        try:
            return await self.command.run(self.session)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - the last place that can turn a defect into a sentence
            return _report(error, self.command.name, self.errors, self.verbose)
        finally:
            await self.session.close()


async def run(arguments: Sequence[str], *, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Runs one request inside an event loop that is already there."""
    line = read_line(arguments, out=out, err=err)
    return line if isinstance(line, int) else await line.run()


def read_line(
    arguments: Sequence[str], *, out: TextIO | None = None, err: TextIO | None = None
) -> Line | int:
    """The line, ready to run; or the exit code, when it was one for help or a wrong one."""
    errors = err or sys.stderr
    verb, rest = split_verb(GLOBALS, arguments)
    name = verb
    try:
        if not verb or verb in ("help", "options"):
            put(out or sys.stdout, _help(verb, rest))
            return OK
        command, rest = _find(verb, rest)
        name = command.name
        parsed = parse((*command.flags, *GLOBALS), rest)
        options = parsed.options
        runs = command.run is not None or command.process is not None
        if options.help or not runs:
            if not runs and parsed.words and not options.help:
                known = [each.name.rpartition(" ")[2] for each in command.commands]
                raise UsageError(_unknown(parsed.words[0], known, f"orchestra {name}"))
            put(out or sys.stdout, command.help())
            return OK
        if command.run is not None:
            _configure_logging(options.v)
        settings = settle(server=options.server, namespace=options.namespace, context=options.context)
        return Line(command, Session(parsed, settings, out=out, err=err), bool(options.v), errors)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last place that can turn a defect into a sentence
        verbose = any(word == "--v" or word.startswith(("--v=", "-v")) for word in arguments)
        return _report(error, name, errors, verbose)


def _configure_logging(verbosity: int) -> None:
    if verbosity > 1:
        from orchestra.base.log import configure

        configure(verbosity - 1)


def _report(error: Exception, verb: str, errors: TextIO, verbose: bool) -> int:
    from orchestra.cli.errors import sentences

    if isinstance(error, UsageError):
        errors.write(f"error: {error}{_see(verb, str(error))}\n")
        return USAGE
    if verbose:
        import traceback

        errors.write("".join(traceback.format_exception(error)))
    for line in sentences(error):
        errors.write(line + "\n")
    if not verbose and not isinstance(error, OrchestraError | OSError):
        errors.write("this is a defect of orchestra; -v shows where it happened\n")
    errors.flush()
    return FAILED


def _see(verb: str, said: str) -> str:
    told = any(word in said for word in ("see orchestra", "did you mean", "--help", "unknown command"))
    return f" (see 'orchestra {verb} --help')" if verb and not told else ""


def _unknown(word: str, known: Iterable[str], command: str) -> str:
    near = difflib.get_close_matches(word, known, 1, 0.6)
    hint = f', did you mean "{near[0]}"?' if near else f" (see {command} --help)"
    return f'unknown command "{word}" for "{command}"{hint}'


def find_command(arguments: Sequence[str]) -> tuple[Command, list[str]]:
    """The command that a line names, and the line without its words.

    Raises: UsageError for a verb there is not.
    """
    return _find(*split_verb(GLOBALS, arguments))


def _find(verb: str, rest: list[str]) -> tuple[Command, list[str]]:
    """The command that the line names, and the line without its words."""
    if verb in _HIDDEN:
        module = _HIDDEN[verb]
    elif verb in VERBS:
        module = VERBS[verb][0]
    else:
        raise UsageError(_unknown(verb, VERBS, "orchestra"))
    commands: dict[str, Command] = {
        command.name: command for command in importlib.import_module(f"orchestra.cli.{module}").COMMANDS
    }
    command = commands[verb]
    if not command.commands:
        return command, rest
    inner = [flag for sub in command.commands for flag in sub.flags]
    word, remaining = split_verb((*inner, *command.flags, *GLOBALS), rest)
    for sub in command.commands:
        if word and sub.name == f"{verb} {word}":
            return sub, remaining
    return command, rest


def _help(verb: str, rest: list[str]) -> str:
    if verb == "options":
        return global_help()
    parsed = parse(GLOBALS, rest)
    if parsed.words:
        command, _ = _find(parsed.words[0], parsed.words[1:])
        return command.help()
    lines = ["orchestra runs plain Linux processes as Kubernetes runs containers.", ""]
    for group in _GROUPS:
        lines.append(f"{group}:")
        for name, (_, its_group, summary) in VERBS.items():
            if its_group == group:
                lines.append(f"  {name:<15} {summary}")
        lines.append("")
    lines += [
        "Usage:",
        "  orchestra [command] [options]",
        "",
        'Use "orchestra <command> --help" for more about a command.',
        'Use "orchestra options" for the global options, which go with every command.',
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
