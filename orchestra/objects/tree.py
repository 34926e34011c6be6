"""A parsed document as a tree of values in which every value knows the line that it stands on.

`TreeBuilder` is fed by the YAML and the JSON reader alike. It holds the bounds (depth, number of values, what
aliases expand to), finds duplicate keys, and never recurses, so that no input can exhaust the stack.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

DEPTH_MAX = 64
VALUES_MAX = 100_000
EXPANDED_BYTES_MAX = 16 * 1024 * 1024
PROBLEMS_MAX = 100

# Where a value is: keys and list indexes from the document down.
TreePath: TypeAlias = tuple[str | int, ...]

MERGE_KEY = "<<"


@dataclass(frozen=True, slots=True)
class TreeProblem:
    """What is wrong with the document itself, before anybody asks what it means."""

    line: int
    path: TreePath
    message: str


class Unreadable(Exception):
    """The rest of the document cannot be read."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(slots=True)
class Node:
    """One value: as JSON would have it, with the lines of it and of what is in it.

    text: a plain scalar as it was written (`yes`, `0777`), "" if it was quoted. values, text_bytes: what the
    node costs when every alias in it is expanded. keys: the line of each key of a mapping.
    """

    line: int
    value: Any
    text: str = ""
    members: "dict[str, Node]" = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    items: "list[Node]" = field(default_factory=list)
    values: int = 1
    text_bytes: int = 0
    height: int = 1

    def at(self, path: TreePath) -> "Node | None":
        """The node at a path, None where there is none."""
        found: Node | None = self
        for step in path:
            if found is None:
                return None
            found = found._child(step)
        return found

    def line_at(self, path: TreePath) -> int:
        """The line of the field a path names, or of the nearest thing around it that is there."""
        node, line = self, self.line
        for step in path:
            child = node._child(step)
            if child is None:
                return line
            line = node.keys.get(str(step), child.line) if node.members else child.line
            node = child
        return line

    def _child(self, step: str | int) -> "Node | None":
        if self.members:
            return self.members.get(str(step))
        if self.items and str(step).isdecimal() and int(step) < len(self.items):
            return self.items[int(step)]
        return None


@dataclass(frozen=True, slots=True)
class Document:
    """One document. root: None when it cannot be read; `problems` then says why."""

    root: Node | None
    problems: tuple[TreeProblem, ...] = ()


def unreadable_document(problem: Unreadable) -> Document:
    """The document that stands for one that cannot be read."""
    return Document(None, (TreeProblem(problem.line, (), problem.message),))


@dataclass(slots=True)
class Budget:
    """What one source may still cost, over all its documents."""

    values: int = VALUES_MAX
    expanded_bytes: int = EXPANDED_BYTES_MAX

    @property
    def is_used_up(self) -> bool:
        """Whether nothing more may be read."""
        return self.values < 0 or self.expanded_bytes < 0

    def take(self, line: int, values: int, text_bytes: int = 0) -> None:
        """Raises Unreadable when it is used up."""
        self.values -= values
        self.expanded_bytes -= text_bytes
        if self.values < 0:
            raise Unreadable(
                line, f"more than {VALUES_MAX} values, with aliases expanded: split it into several files"
            )
        if self.expanded_bytes < 0:
            raise Unreadable(
                line, f"aliases expand to more than {EXPANDED_BYTES_MAX // 2**20} MiB: write out less of it"
            )


@dataclass(slots=True)
class _Open:
    """A mapping or list not yet closed. key: the key that waits for its value."""

    node: Node
    is_mapping: bool
    anchor: str = ""
    key: str | None = None
    key_line: int = 0
    merges: list[Node] = field(default_factory=list)


class TreeBuilder:
    """Puts one document together from the events of a reader."""

    def __init__(self, budget: Budget) -> None:
        self.root: Node | None = None
        self._budget = budget
        self._problems: list[TreeProblem] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}

    def document(self) -> Document | None:
        """What was read; None if that is nothing, as between two separators."""
        if self.root is None or self.root.value is None:
            return None
        return Document(self.root, tuple(self._problems))

    def given_up(self, problem: Unreadable) -> Document:
        """What is said of a document that cannot be read to its end."""
        return Document(None, (*self._problems, TreeProblem(problem.line, (), problem.message)))

    @property
    def path(self) -> TreePath:
        """Where the next value goes."""
        steps: list[str | int] = []
        for frame in self._open:
            if not frame.is_mapping:
                steps.append(len(frame.node.items))
            elif frame.key is not None:
                steps.append(frame.key)
        return tuple(steps)

    def wants_key(self) -> bool:
        """Whether the next scalar is a key."""
        return bool(self._open) and self._open[-1].is_mapping and self._open[-1].key is None

    def start(self, line: int, *, mapping: bool, anchor: str = "") -> None:
        """A mapping or a list begins."""
        if self.wants_key():
            raise Unreadable(
                line,
                "a key must be a plain word, not a mapping or a list (a text that starts with { or [ needs "
                "quotes; {{ … }} is a template's placeholder, to be rendered first)",
            )
        if len(self._open) >= DEPTH_MAX:
            raise Unreadable(line, f"nested more than {DEPTH_MAX} levels deep")
        self._budget.take(line, 1)
        node = Node(line, {} if mapping else [])
        if anchor:
            self._anchors.pop(anchor, None)
        self._open.append(_Open(node, mapping, anchor))

    def end(self) -> None:
        """The innermost mapping or list ends."""
        frame = self._open.pop()
        for merged in frame.merges:
            for key, member in merged.members.items():
                if key not in frame.node.members:
                    self._join(frame.node, key, merged.keys[key], member)
        if frame.anchor:
            self._anchors[frame.anchor] = frame.node
        self._add(frame.node)

    def key(self, text: str, line: int) -> None:
        """The key of the next value."""
        self._budget.take(line, 1, len(text))
        self._open[-1].key, self._open[-1].key_line = text, line

    def scalar(self, value: Any, line: int, *, text: str = "", anchor: str = "") -> None:
        """A string, number, boolean or null."""
        size = len(value) if isinstance(value, str) else len(text)
        self._budget.take(line, 1, size)
        node = Node(line, value, text, text_bytes=size)
        if anchor:
            self._anchors[anchor] = node
        self._add(node)

    def alias(self, name: str, line: int) -> None:
        """The value that an anchor named before."""
        node = self._anchors.get(name)
        if node is None:
            raise Unreadable(line, f'alias "*{name[:64]}" names no anchor before it that is complete')
        if self.wants_key():
            if not isinstance(node.value, str):
                raise Unreadable(line, f'alias "*{name[:64]}" cannot be a key: it is no text')
            self.key(node.value, line)
            return
        self._budget.take(line, node.values, node.text_bytes)
        if len(self._open) + node.height > DEPTH_MAX:
            raise Unreadable(line, f"nested more than {DEPTH_MAX} levels deep, with aliases expanded")
        self._add(node)

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        frame = self._open[-1]
        parent = frame.node
        if not frame.is_mapping:
            parent.items.append(node)
            parent.value.append(node.value)
            self._count(parent, node)
            return
        key = frame.key or ""
        if key == MERGE_KEY:
            self._merge(frame, node)
        elif key in parent.members:
            self._duplicate(frame, key)
        else:
            self._join(parent, key, frame.key_line, node)
        frame.key = None

    def _join(self, parent: Node, key: str, line: int, node: Node) -> None:
        parent.members[key] = node
        parent.keys[key] = line
        parent.value[key] = node.value
        self._count(parent, node)

    @staticmethod
    def _count(parent: Node, node: Node) -> None:
        parent.values += node.values + 1
        parent.text_bytes += node.text_bytes
        parent.height = max(parent.height, node.height + 1)

    def _merge(self, frame: _Open, node: Node) -> None:
        sources = node.items if isinstance(node.value, list) else [node]
        if any(not isinstance(source.value, dict) for source in sources):
            raise Unreadable(frame.key_line, f'"{MERGE_KEY}" merges mappings only')
        frame.merges.extend(sources)

    def _duplicate(self, frame: _Open, key: str) -> None:
        if len(self._problems) >= PROBLEMS_MAX:
            raise Unreadable(frame.key_line, f"more than {PROBLEMS_MAX} mistakes: the rest was not read")
        first = frame.node.keys[key]
        self._problems.append(
            TreeProblem(
                frame.key_line,
                self.path,
                f'duplicate key "{key[:64]}": it is on line {first} and again on line {frame.key_line}',
            )
        )
