"""Manifests: text to objects, with every mistake at its line.

Knows YAML, JSON and lists of objects; reads no files, so that whoever has bytes from anywhere (a file,
standard input, a network) gets the same answer. Hostile input costs bounded time and memory: the size is
looked at before anything is parsed, and what aliases expand to is counted before it is built.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestra.base.errors import Violation
from orchestra.objects import kinds
from orchestra.objects.codec import decode_manifest, render_path
from orchestra.objects.codec.problems import MapKey
from orchestra.objects.defaults import set_defaults
from orchestra.objects.json_tree import looks_like_json, read_json
from orchestra.objects.lifecycle import copy_of, prepare_create
from orchestra.objects.tree import Budget, Document, Node, TreePath, Unreadable, unreadable_document
from orchestra.objects.validation import validate_create
from orchestra.objects.yaml_tree import read_yaml

BYTES_MAX = 4 * 1024 * 1024
PROBLEMS_MAX = 200
PATH_LENGTH_MAX = 512
MESSAGE_LENGTH_MAX = 1024

_BOM = b"\xef\xbb\xbf"
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STEP = re.compile(r"([^.\[\]]+)|\[([^\]]*)\]")
_QUOTES_HINT = "put it in quotes"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a manifest. str() is `web.yaml:14: spec.replicas: must be …`."""

    source: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}: "
        return place + (f"{self.path}: {self.message}" if self.path else self.message)


@dataclass(frozen=True, slots=True)
class ManifestObject:
    """An object as it was written (no defaults filled in), and where."""

    obj: kinds.ApiObject
    source: str
    line: int


@dataclass(frozen=True, slots=True)
class ManifestResult:
    """Every object without a mistake, and every mistake of the others, both in the order of the text."""

    objects: tuple[ManifestObject, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Item:
    """One object's place in a document. data: its value, with what a typed list says about its items."""

    node: Node
    data: Any
    path: TreePath


def load_documents(data: bytes, source: str) -> ManifestResult:
    """The objects of a YAML or JSON text, which may be many documents and lists, and all its mistakes.

    Never raises for what is in `data`. Bound: 4 MiB of text, 64 levels, 100,000 values with aliases expanded,
    1,000 documents, 200 mistakes.
    """
    try:
        text = _decode(data)
        documents = _read(text)
    except Unreadable as unreadable:
        documents = [unreadable_document(unreadable)]
    loader = _Loader(source)
    for document in documents:
        if not loader.take(document):
            break
    return ManifestResult(tuple(loader.objects), tuple(loader.problems))


def _decode(data: bytes) -> str:
    if len(data) > BYTES_MAX:
        raise Unreadable(
            1,
            f"the text is longer than the {BYTES_MAX} bytes ({BYTES_MAX // 2**20} MiB) "
            "that a manifest may be: split it into several files",
        )
    data = data.removeprefix(_BOM)
    try:
        text = data.decode()
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise Unreadable(
            line,
            f"not UTF-8: byte 0x{data[problem.start]:02x} at offset {problem.start} is no part of a "
            "character: save the file as UTF-8",
        ) from None
    found = _UNPRINTABLE.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise Unreadable(line, f"control character U+{ord(found[0]):04X}, which no manifest may hold")
    return text


def _read(text: str) -> list[Document]:
    budget = Budget()
    if not looks_like_json(text):
        return read_yaml(text, budget)
    try:
        return read_json(text, budget)
    except Unreadable as not_json:
        if budget.is_used_up:
            raise
        # YAML's own braces ({a: b}) look like JSON too.
        documents = read_yaml(text, Budget())
        if any(document.root is None for document in documents):
            raise not_json from None
        return documents


class _Loader:
    """Gathers objects and mistakes of one source."""

    def __init__(self, source: str) -> None:
        self.objects: list[ManifestObject] = []
        self.problems: list[Problem] = []
        self._source = source

    def take(self, document: Document) -> bool:
        """Takes one document up; False when there are mistakes enough to stop."""
        first = len(self.problems)
        spoilt = set[TreePath]()
        for problem in document.problems:
            self._add(problem.line, render_path(problem.path), problem.message)
            spoilt.add(problem.path)
        if document.root is not None:
            for item in self._items(document.root):
                is_spoilt = any(path[: len(item.path)] == item.path for path in spoilt)
                self._take_item(document.root, item, is_spoilt)
                if len(self.problems) >= PROBLEMS_MAX:
                    break
        self.problems[first:] = sorted(self.problems[first:], key=lambda problem: problem.line)
        if len(self.problems) < PROBLEMS_MAX:
            return True
        del self.problems[PROBLEMS_MAX:]
        last = self.problems[-1].line
        self._add(last, "", f"{PROBLEMS_MAX} mistakes or more: what follows was not looked at")
        return False

    def _add(self, line: int, path: str, message: str) -> None:
        # A key or an anchor can be as long as the text itself.
        path, message = _cut(path, PATH_LENGTH_MAX), _cut(message, MESSAGE_LENGTH_MAX)
        self.problems.append(Problem(self._source, line, path, message))

    def _items(self, root: Node) -> Iterator[_Item]:
        """The objects of a document: itself, or what a list of objects holds, however deep."""
        waiting = [_Item(root, root.value, ())]
        while waiting:
            item = waiting.pop()
            inside = self._list_items(item)
            if inside is None:
                yield item
            else:
                waiting.extend(reversed(inside))

    def _list_items(self, item: _Item) -> list[_Item] | None:
        """What a list holds, None for what is no list."""
        word = item.data.get("kind") if isinstance(item.data, dict) else None
        if not isinstance(word, str) or not word.endswith("List"):
            return None
        kind = kinds.BY_NAME.get(word.removesuffix("List"))
        if word != "List" and kind is None:
            return None
        members = item.node.members.get("items")
        if members is None or members.value is None:
            return []
        path = (*item.path, "items")
        if not isinstance(members.value, list):
            self._add(item.node.line_at(("items",)), render_path(path), "expected a list of objects")
            return []
        implied = {"apiVersion": kind.api_version, "kind": kind.kind} if kind else {}
        return [
            _Item(
                node,
                {**implied, **node.value} if isinstance(node.value, dict) else node.value,
                (*path, index),
            )
            for index, node in enumerate(members.items)
        ]

    def _take_item(self, root: Node, item: _Item, is_spoilt: bool) -> None:
        obj, problems = decode_manifest(item.data)
        for problem in problems:
            path = (*item.path, *problem.path)
            message = _with_quotes(problem.message, root.at(path))
            self._add(root.line_at(path), render_path(path), message)
        if obj is None:
            return
        unread = [(*item.path, *problem.path) for problem in problems]
        violations = validate_create(_as_created(obj))
        for violation in violations:
            path = (*item.path, *_steps(violation.path))
            if not unread or _stands_alone(root, path, violation, unread):
                self._add(root.line_at(path), render_path(path), violation.message)
        if not violations and not problems and not is_spoilt:
            self.objects.append(ManifestObject(obj, self._source, item.node.line))


def _stands_alone(root: Node, path: TreePath, violation: Violation, unread: list[TreePath]) -> bool:
    """Whether a violation is a mistake of its own, and does not follow from fields that could not be read.

    A misspelt `comand` is one mistake: that `command` is missing then is not worth a second sentence.
    """
    if violation.reason == "FieldValueNotFound" or root.at(path) is None:
        return False
    return not any(path[: len(bad)] == bad or bad[: len(path)] == path for bad in unread)


def _as_created(obj: kinds.ApiObject) -> kinds.ApiObject:
    """What a create of the object would store, for validation to look at."""
    trial = copy_of(obj)
    set_defaults(trial)
    if not kinds.kind_of(trial).namespaced and trial.metadata.namespace:
        return trial
    return prepare_create(trial, now_ns=0, uid="0", name_suffix="00000")


def _cut(text: str, length_max: int) -> str:
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def _with_quotes(message: str, node: Node | None) -> str:
    """Says which quotes are missing round a word that YAML takes for a boolean or a number."""
    if node is None or not node.text or not message.endswith(_QUOTES_HINT):
        return message
    read_as = json.dumps(node.value)
    quoted = json.dumps(node.text[:64], ensure_ascii=False)
    if read_as == node.text:
        return f"{message}: {quoted}"
    return f"expected a string, got {node.text[:64]}, which YAML reads as {read_as}: {_QUOTES_HINT}: {quoted}"


def _steps(path: str) -> TreePath:
    """The steps of a violation's path: `spec.containers[0].limits[cpu]`."""
    steps: list[str | int] = []
    for found in _STEP.finditer(path):
        name, bracket = found.groups()
        if name is not None:
            steps.append(name)
        else:
            steps.append(int(bracket) if bracket.isdecimal() and len(bracket) < 10 else MapKey(bracket))
    return tuple(steps)
