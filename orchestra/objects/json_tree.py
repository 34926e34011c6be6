"""JSON text to trees: one object after another, each value with its line, without recursion."""

import json
import re
from typing import Any

from orchestra.objects.tree import Budget, Document, TreeBuilder, Unreadable
from orchestra.objects.yaml_tree import DOCUMENTS_MAX

# The quantifiers are possessive: a text without its closing quote is refused in one pass.
_TOKEN = re.compile(
    r'[ \t\r\n]*+(?:(?P<mark>[\[\]{},:])|(?P<string>"(?:[^"\\\x00-\x1f]++|\\.)*+")'
    r"|(?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?)"
    r"|(?P<word>true|false|null)|(?P<end>\Z))"
)
_WORDS = {"true": True, "false": False, "null": None}
_DIGITS_MAX = 40


def looks_like_json(text: str) -> bool:
    """Whether the text begins as JSON does."""
    return text.lstrip()[:1] in ("{", "[")


def read_json(text: str, budget: Budget) -> list[Document]:
    """Every value of the text.

    Raises: Unreadable where the text is not JSON.
    """
    documents: list[Document] = []
    reader = _Reader(text)
    while True:
        builder = TreeBuilder(budget)
        if not reader.read_value(builder):
            return documents
        document = builder.document()
        if document is not None:
            documents.append(document)
        if len(documents) > DOCUMENTS_MAX:
            raise Unreadable(reader.line, f"more than {DOCUMENTS_MAX} documents: split it into several files")


class _Reader:
    def __init__(self, text: str) -> None:
        self.line = 1
        self._text = text
        self._at = 0

    def read_value(self, builder: TreeBuilder) -> bool:
        """Reads one value; False at the end of the text."""
        closers: list[str] = []
        after_value = False
        while True:
            name, token = self._token()
            if name == "end":
                if closers:
                    raise Unreadable(self.line, f'not JSON: the text ends before a closing "{closers[-1]}"')
                return False
            if after_value:
                after_value = self._separator(token, closers, builder)
            else:
                after_value = self._element(name, token, closers, builder)
            if after_value and not closers:
                return True

    def _separator(self, token: str, closers: list[str], builder: TreeBuilder) -> bool:
        """After a value: a comma, or the end of what it stands in."""
        if token == closers[-1]:
            closers.pop()
            builder.end()
            return True
        if token != ",":
            raise Unreadable(self.line, f'not JSON: expected "," or "{closers[-1]}", found {token[:32]}')
        if closers[-1] == "}":
            self._key(*self._token(), builder)
        return False

    def _element(self, name: str, token: str, closers: list[str], builder: TreeBuilder) -> bool:
        if token in ("{", "["):
            builder.start(self.line, mapping=token == "{")
            closers.append("}" if token == "{" else "]")
            if token == "[":
                return self._closes_at_once("]", closers, builder)
            if self._closes_at_once("}", closers, builder):
                return True
            self._key(*self._token(), builder)
            return False
        if name == "mark":
            raise Unreadable(self.line, f'not JSON: expected a value, found "{token}"')
        builder.scalar(self._scalar(name, token), self.line, text="" if name == "string" else token)
        return True

    def _closes_at_once(self, closer: str, closers: list[str], builder: TreeBuilder) -> bool:
        at, line = self._at, self.line
        if self._token()[1] == closer:
            closers.pop()
            builder.end()
            return True
        self._at, self.line = at, line
        return False

    def _key(self, name: str, token: str, builder: TreeBuilder) -> None:
        if name != "string":
            raise Unreadable(
                self.line, f"not JSON: expected a key in quotes, found {token[:32] or 'the end'}"
            )
        line = self.line
        builder.key(self._scalar(name, token), line)
        if self._token()[1] != ":":
            raise Unreadable(self.line, 'not JSON: expected ":" after a key')

    def _token(self) -> tuple[str, str]:
        found = _TOKEN.match(self._text, self._at)
        if found is None or found.lastgroup is None:
            self.line += self._text.count("\n", self._at, self._blank_end())
            raise Unreadable(self.line, f"not JSON: {self._text[self._blank_end() :][:16]!r} is unexpected")
        token = found[found.lastgroup]
        self.line += self._text.count("\n", self._at, found.end())
        self._at = found.end()
        return found.lastgroup, token

    def _blank_end(self) -> int:
        at = self._at
        while at < len(self._text) and self._text[at] in " \t\r\n":
            at += 1
        return at

    def _scalar(self, name: str, token: str) -> Any:
        if name == "word":
            return _WORDS[token]
        if name == "number":
            # A number no field could hold stays a text, and the field's own type error names it.
            return json.loads(token) if len(token) <= _DIGITS_MAX else token
        try:
            text: str = json.loads(token)
            text.encode()
        except ValueError:
            raise Unreadable(self.line, f"not JSON: bad escape in {token[:32]}") from None
        return text
