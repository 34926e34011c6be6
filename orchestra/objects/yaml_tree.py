"""YAML text to trees: what a plain word means, and what is said when the text is no YAML.

Words mean what they mean to kubectl (sigs.k8s.io/yaml): `yes`, `no`, `on` and `off` are booleans, `0777` is
octal, a date stays a string. Read from the parser's events, not its objects, so that every value has its line
and nothing is built before it is counted.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from orchestra.objects.tree import Budget, Document, TreeBuilder, Unreadable, unreadable_document

DOCUMENTS_MAX = 1_000

# The parser in C where PyYAML was built with libyaml: ten times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_DIRECTIVES = re.compile(r"(?:[ \t\r]*+(?:[%#][^\n]*+)?(?:\n|\Z))*+")
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+|0|[1-9][0-9_]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_DIGITS_MAX = 40
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"), False),
}
_TAG = "tag:yaml.org,2002:"
_RESOLVED_TAGS = tuple(_TAG + name for name in ("int", "float", "bool", "null"))
_SAID = {
    "mapping values are not allowed in this context": (
        'a ":" where none can be: the indentation is wrong, or a text with ": " in it needs quotes'
    ),
    "mapping values are not allowed here": (
        'a ":" where none can be: the indentation is wrong, or a text with ": " in it needs quotes'
    ),
    "did not find expected key": "the indentation does not fit the lines above",
    "did not find expected '-' indicator": "the indentation of this list does not fit the lines above",
    "could not find expected ':'": 'a key without ":", or a text that needs quotes',
    "found unexpected end of stream": "the text ends inside a quoted string",
    "did not find expected <document start>": "the indentation does not fit the lines above",
}


def read_yaml(text: str, budget: Budget) -> list[Document]:
    """Every document of a stream. One that cannot be read hides no other."""
    documents: list[Document] = []
    seen = 0
    for line_offset, chunk in _chunks(text):
        if not chunk or chunk.isspace():
            continue
        seen += 1
        if seen > DOCUMENTS_MAX:
            problem = f"more than {DOCUMENTS_MAX} documents: split it into several files"
            documents.append(unreadable_document(Unreadable(line_offset + 1, problem)))
            break
        _read_chunk(chunk, line_offset, budget, documents)
        if budget.is_used_up:
            break
    return documents


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """The documents of a stream, each with the number of lines before it.

    A `---` at a line's start divides wherever it stands: YAML lets it stand in no text. What follows it on
    its line belongs to the document (`--- {a: b}`). Directives (`%YAML 1.1`) are passed over.
    """
    start = line = 0
    for found in _SEPARATOR.finditer(text):
        chunk = text[start : found.start()]
        yield line, "" if _DIRECTIVES.fullmatch(chunk) else chunk
        line += chunk.count("\n")
        start = found.end()
    yield line, text[start:]


def _read_chunk(text: str, offset: int, budget: Budget, documents: list[Document]) -> None:
    builder = TreeBuilder(budget)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if not isinstance(event, yaml.DocumentEndEvent):
                _feed(builder, event, offset)
                continue
            document = builder.document()
            if document is not None:
                documents.append(document)
            builder = TreeBuilder(budget)
    except Unreadable as problem:
        documents.append(builder.given_up(problem))
    except yaml.MarkedYAMLError as problem:
        documents.append(builder.given_up(_unreadable(problem, text, offset)))
    except yaml.YAMLError as problem:
        said = str(problem).splitlines()[0]
        documents.append(builder.given_up(Unreadable(offset + 1, f"not YAML: {said}")))


def _feed(builder: TreeBuilder, event: Any, offset: int) -> None:
    line = event.start_mark.line + 1 + offset
    if isinstance(event, yaml.ScalarEvent):
        _scalar(builder, event, line)
    elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
        _check_tag(event.tag, ("map", "seq"), line)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        builder.start(line, mapping=is_mapping, anchor=event.anchor or "")
    elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
        builder.end()
    elif isinstance(event, yaml.AliasEvent):
        builder.alias(event.anchor or "", line)


def _scalar(builder: TreeBuilder, event: Any, line: int) -> None:
    if builder.wants_key():
        if event.anchor:
            raise Unreadable(line, f'anchor "&{event.anchor}" on a key: anchor a value instead')
        builder.key(event.value, line)
        return
    _check_tag(event.tag, ("str", "int", "float", "bool", "null"), line)
    anchor = event.anchor or ""
    is_plain = event.implicit[0] or event.tag in tuple(
        _TAG + name for name in ("int", "float", "bool", "null")
    )
    if is_plain:
        builder.scalar(plain_value(event.value), line, text=event.value, anchor=anchor)
    else:
        builder.scalar(event.value, line, anchor=anchor)


def _check_tag(tag: str | None, known: tuple[str, ...], line: int) -> None:
    if tag is None or tag == "!" or (tag.startswith(_TAG) and tag[len(_TAG) :] in known):
        return
    shown = tag.replace(_TAG, "!!")[:64]
    raise Unreadable(line, f"tag {shown} is not supported: leave it out")


def plain_value(text: str) -> Any:
    """What an unquoted word of YAML is: null, a boolean, a number, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if not text[0].isdigit() and text[0] not in "+-.":
        return text
    if len(text) > _DIGITS_MAX:
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        value = float(text)
        return value if abs(value) != float("inf") else text
    return text


def _integer(text: str) -> int | str:
    sign, digits = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    if digits[0] == "0" and digits[1:].isdecimal():
        digits = "0o" + digits[1:]
    try:
        return int(sign + digits, 0)
    except ValueError:
        return text


def _unreadable(problem: yaml.MarkedYAMLError, text: str, offset: int) -> Unreadable:
    mark = problem.problem_mark or problem.context_mark
    line = (mark.line if mark else 0) + 1 + offset
    said = str(problem.problem or problem.context or "cannot be read")
    lines = text.split("\n", line - offset)
    here = lines[line - offset - 1] if line - offset <= len(lines) else ""
    indentation = here[: len(here) - len(here.lstrip())]
    if "\t" in indentation or (mark and here[mark.column : mark.column + 1] == "\t"):
        return Unreadable(line, "not YAML: a tab in the indentation: YAML wants spaces")
    if "{{" in here:
        return Unreadable(line, "not YAML: {{ … }} is a template's placeholder: render the template first")
    if said.startswith("found character") and mark and here[mark.column : mark.column + 1] in ("@", "`", "%"):
        said = f'a text cannot start with "{here[mark.column]}" without quotes'
    since = ""
    if problem.context_mark and problem.context_mark.line + 1 + offset != line:
        since = f" (it began on line {problem.context_mark.line + 1 + offset})"
    return Unreadable(line, f"not YAML: {_SAID.get(said, said)}{since}")
