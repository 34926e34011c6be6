"""Objects for the printers' tests, written as a person writes them."""

import textwrap
from typing import Any

import yaml

from orchestra.objects.codec import from_manifest
from orchestra.objects.times import format_time, parse_time, time_from_ns

NOW_NS = parse_time("2026-01-01T12:00:00Z").seconds * 1_000_000_000


class _Loader(yaml.SafeLoader):
    """Leaves times as text, as the manifests' own loader does."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def obj(text: str) -> Any:
    """The object of one YAML document, status included."""
    made, violations = from_manifest(yaml.load(textwrap.dedent(text), Loader=_Loader))
    assert made is not None, violations
    assert not violations, [str(violation) for violation in violations]
    return made


def ago(seconds: int) -> str:
    """A time so long before NOW."""
    return str(format_time(time_from_ns(NOW_NS - seconds * 1_000_000_000)))


def golden(text: str) -> str:
    """An expected text, written indented; a `|` marks the end of a line that ends with blanks."""
    return textwrap.dedent(text).lstrip("\n").replace("|\n", "\n")
