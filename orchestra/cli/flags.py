"""Flags as a person's hands know them: long and short, anywhere on the line, `--x=y`, `--x y`, `-xy`.

A small parser of our own instead of argparse: kubectl's habits (flags between positional words,
`--watch=false`, grouped shorthands) are outside argparse's, and start-up time is part of the interface.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

from orchestra.base.errors import UsageError

Shape = Literal["string", "bool", "int", "duration", "list", "array", "level"]

_TRUE = {"true", "t", "1", "yes"}
_FALSE = {"false", "f", "0", "no"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    shape: `list` splits at commas and repeats, `array` only repeats, `level` counts (`-v`, `-v=3`).
    bare: the value meant when the flag stands without one (`--dry-run`); None: it needs one.
    """

    name: str
    help: str
    short: str = ""
    shape: Shape = "string"
    default: Any = None
    bare: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def attribute(self) -> str:
        """Where the parsed options keep it."""
        return self.name.replace("-", "_")

    @property
    def start(self) -> Any:
        """The value when it is not given."""
        if self.default is not None:
            return self.default
        return {"bool": False, "int": 0, "duration": 0.0, "list": [], "array": [], "level": 0}.get(
            self.shape, ""
        )


@dataclass(slots=True)
class Parsed:
    """A line taken apart. `trailing` is what stood after `--`, None when there was no `--`."""

    options: SimpleNamespace
    words: list[str] = field(default_factory=list)
    trailing: list[str] | None = None
    given: set[str] = field(default_factory=set)


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `1m30s`, `500ms`, `2h`; a bare number is seconds.

    Raises: ValueError for anything else.
    """
    sign, body = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    if re.fullmatch(r"\d+(\.\d+)?", body):
        return sign * float(body)
    if not body or _DURATION.sub("", body):
        raise ValueError(f'"{text}" is no duration: write it like 30s, 5m or 1h30m')
    return sign * sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(body))


def _convert(flag: Flag, shown: str, text: str) -> Any:
    try:
        if flag.shape == "bool":
            lowered = text.lower()
            if lowered not in _TRUE | _FALSE:
                raise ValueError("must be true or false")
            return lowered in _TRUE
        if flag.shape in ("int", "level"):
            if not re.fullmatch(r"[+-]?\d{1,18}", text):
                raise ValueError("must be a whole number")
            return int(text)
        if flag.shape == "duration":
            return parse_duration(text)
        if flag.shape == "list":
            return [part for part in text.split(",") if part]
        if flag.choices and text not in flag.choices:
            raise ValueError(f"must be one of {', '.join(flag.choices)}")
    except ValueError as error:
        raise UsageError(f'invalid argument "{text}" for "{shown}": {error}') from None
    return text


class _Parser:
    def __init__(self, flags: Iterable[Flag]) -> None:
        self.long = {flag.name: flag for flag in flags}
        self.short = {flag.short: flag for flag in self.long.values() if flag.short}
        options = SimpleNamespace()
        for flag in self.long.values():
            start = flag.start
            setattr(options, flag.attribute, list(start) if isinstance(start, list) else start)
        self.parsed = Parsed(options)

    def set(self, flag: Flag, shown: str, text: str) -> None:
        value = _convert(flag, shown, text)
        options = self.parsed.options
        if flag.shape in ("list", "array"):
            before = getattr(options, flag.attribute) if flag.name in self.parsed.given else []
            value = [*before, *(value if flag.shape == "list" else [value])]
        setattr(options, flag.attribute, value)
        self.parsed.given.add(flag.name)

    def take(self, flag: Flag, shown: str, attached: str | None, rest: Sequence[str]) -> int:
        """Sets the flag; says how many of `rest` it used up."""
        if attached is not None:
            self.set(flag, shown, attached)
            return 0
        if flag.shape == "bool":
            self.set(flag, shown, "true")
            return 0
        if flag.shape == "level":
            if rest and rest[0].isdigit():
                self.set(flag, shown, rest[0])
                return 1
            self.set(flag, shown, str(getattr(self.parsed.options, flag.attribute) + 1))
            return 0
        if flag.bare is not None:
            self.set(flag, shown, flag.bare)
            return 0
        if not rest:
            raise UsageError(f"flag needs an argument: {shown}")
        self.set(flag, shown, rest[0])
        return 1

    def long_flag(self, word: str, rest: Sequence[str]) -> int:
        name, equals, value = word[2:].partition("=")
        flag = self.long.get(name)
        if flag is None:
            near = difflib.get_close_matches(name, self.long, 1, 0.7)
            raise UsageError(f"unknown flag: --{name}" + (f", did you mean --{near[0]}?" if near else ""))
        return self.take(flag, f"--{name}", value if equals else None, rest)

    def short_flags(self, word: str, rest: Sequence[str]) -> int:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self.short.get(letter)
            if flag is None:
                raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
            if letters.startswith("="):
                return self.take(flag, f"-{letter}", letters[1:], rest)
            counts = flag.shape in ("bool", "level") and not (flag.shape == "level" and letters.isdigit())
            if not letters or not counts:
                return self.take(flag, f"-{letter}", letters or None, rest)
            self.take(flag, f"-{letter}", None, ())
        return 0


def parse(flags: Iterable[Flag], arguments: Sequence[str]) -> Parsed:
    """Takes a command's line apart.

    Raises: UsageError for an unknown flag, a missing or an unfitting value.
    """
    parser = _Parser(flags)
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        if word == "--":
            parser.parsed.trailing = list(arguments[position:])
            break
        if word.startswith("--"):
            position += parser.long_flag(word, arguments[position:])
        elif word.startswith("-") and len(word) > 1:
            position += parser.short_flags(word, arguments[position:])
        else:
            parser.parsed.words.append(word)
    return parser.parsed


def split_verb(flags: Iterable[Flag], arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The first word that is no flag nor a flag's value ("" if there is none), and the line without it."""
    taking = {f"--{flag.name}" for flag in flags if flag.shape not in ("bool", "level") and flag.bare is None}
    taking |= {f"-{flag.short}" for flag in flags if flag.short and flag.shape not in ("bool", "level")}
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            return word, [*arguments[:position], *arguments[position + 1 :]]
        position += 2 if word in taking else 1
    return "", list(arguments)


GLOBALS: tuple[Flag, ...] = (
    Flag(
        "server",
        "The master's address, HOST:PORT, several with commas (else $ORCHESTRA_SERVER, or the context's).",
        "s",
    ),
    Flag("namespace", "The namespace of this request.", "n"),
    Flag("context", "The context of the configuration file to use."),
    Flag("request-timeout", "How long to wait for one answer (0: the default of 10s).", shape="duration"),
    Flag("v", "Say more: with an error, its cause; twice, what is being done.", "v", shape="level"),
    Flag("help", "Show this help.", "h", shape="bool"),
)

FILENAME = Flag("filename", "A file, a folder, or - for standard input; may be repeated.", "f", shape="list")
RECURSIVE = Flag("recursive", "Also read the folders inside a folder given with -f.", "R", shape="bool")
SELECTOR = Flag("selector", "Only objects whose labels match (a=b,c!=d,e in (f,g),!h).", "l")
FIELD_SELECTOR = Flag(
    "field-selector", "Only objects whose fields match (spec.nodeName=n1,status.phase!=Running)."
)
ALL_NAMESPACES = Flag("all-namespaces", "In all namespaces.", "A", shape="bool")
ALL = Flag("all", "All objects of the kinds named, in the namespace.", shape="bool")
DRY_RUN = Flag(
    "dry-run",
    "client: only print what would be sent; server: let the server check it and keep nothing.",
    default="none",
    bare="client",
    choices=("none", "client", "server"),
)
OUTPUT = Flag(
    "output", "Output: json, yaml, name, jsonpath=TEMPLATE, custom-columns=SPEC (and wide for tables).", "o"
)
NO_HEADERS = Flag("no-headers", "Print no header line.", shape="bool")
MANAGED_FIELDS = Flag("show-managed-fields", "Keep metadata.managedFields in json and yaml.", shape="bool")
FIELD_MANAGER = Flag("field-manager", "The name under which the change is recorded.")
# For whoever starts a master.
NODE_EVICTION_GRACE = Flag(
    "node-eviction-grace",
    "How long a node whose agent is lost keeps its pods before they are replaced.",
    shape="duration",
    default=0.4,
)
