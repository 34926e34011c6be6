"""Emptying a namespace that is being deleted: pods first, then the rest, then the namespace itself.

Source: Kubernetes' pkg/controller/namespace/deletion, with ordered deletion.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestra.objects.kinds import KINDS, POD, Kind
from orchestra.objects.lifecycle import NAMESPACE_FINALIZER
from orchestra.pb import core

CONTENT: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.namespaced)


@dataclass(frozen=True, slots=True)
class NamespaceObserved:
    """A namespace and how many objects of each kind are in it."""

    namespace: core.Namespace
    counts: Mapping[Kind, int]


@dataclass(frozen=True, slots=True)
class NamespacePlan:
    """Kinds whose objects are to be deleted; finalize: nothing is left, let the namespace go."""

    delete: tuple[Kind, ...] = ()
    finalize: bool = False


def plan(observed: NamespaceObserved, now_ns: int) -> NamespacePlan:
    """What to do about one namespace."""
    del now_ns  # Nothing here follows from time passing.
    namespace = observed.namespace
    if not namespace.metadata.HasField("deletionTimestamp"):
        return NamespacePlan()
    left = tuple(kind for kind in CONTENT if observed.counts.get(kind, 0))
    if POD in left:
        return NamespacePlan(delete=(POD,))
    if left:
        return NamespacePlan(delete=left)
    return NamespacePlan(finalize=NAMESPACE_FINALIZER in namespace.spec.finalizers)
