"""nodeSelector and node affinity."""

from collections.abc import Iterable

from orchestra.pb import core
from orchestra.scheduling.view import NodeView, PodShape

MAX_SCORE = 100
REFUSAL = "node(s) didn't match Pod's node affinity/selector"


class NodeAffinity:
    """Refuses nodes that the pod's selector or required terms exclude; likes those its preferences name."""

    def refusal(self, shape: PodShape, node: NodeView) -> str | None:
        """`node(s) didn't match Pod's node affinity/selector`."""
        for key, value in shape.node_selector:
            if node.labels.get(key) != value:
                return REFUSAL
        affinity = shape.affinity
        if affinity is None or not affinity.HasField("requiredDuringSchedulingIgnoredDuringExecution"):
            return None
        terms = affinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms
        return None if any(term_matches(term, node) for term in terms) else REFUSAL

    def score(self, shape: PodShape, node: NodeView) -> int:
        """The share of the preferences' weight that the node meets."""
        if shape.affinity is None or not shape.affinity.preferredDuringSchedulingIgnoredDuringExecution:
            return 0
        preferences = shape.affinity.preferredDuringSchedulingIgnoredDuringExecution
        total = sum(preference.weight for preference in preferences)
        met = sum(p.weight for p in preferences if term_matches(p.preference, node))
        return met * MAX_SCORE // total if total else 0


def term_matches(term: core.NodeSelectorTerm, node: NodeView) -> bool:
    """All of a term's expressions and fields hold; a term without any matches nothing."""
    if not term.matchExpressions and not term.matchFields:
        return False
    return all(
        _holds(e.key, e.operator, e.values, node.labels.get(e.key)) for e in term.matchExpressions
    ) and all(
        f.key == "metadata.name" and _holds(f.key, f.operator, f.values, node.name) for f in term.matchFields
    )


def _holds(key: str, operator: str, values: Iterable[str], found: str | None) -> bool:
    match operator:
        case "In":
            return found in set(values)
        case "NotIn":
            return found not in set(values)
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case "Gt" | "Lt":
            return _compares(operator, found, list(values))
        case _:
            return False


def _compares(operator: str, found: str | None, values: list[str]) -> bool:
    try:
        left, right = int(found or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else left < right
