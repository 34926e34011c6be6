"""What of the cluster an agent has to know, and who is told of which change.

A pod goes to the agent of its node; a Service with a node port and every EndpointSlice go to all.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Final, Protocol

from orchestra.apiserver.drains import Drains, stopping_uids
from orchestra.apiserver.sessions import AgentSession, order
from orchestra.controllers.plans import pods as podq
from orchestra.controllers.plans.endpoints import keeps_slices
from orchestra.objects.kinds import ENDPOINT_SLICE, POD, SERVICE, ApiObject, kind_of
from orchestra.objects.readiness import is_doubted
from orchestra.store.informer import BY_NODE, Informers

_NODE_PORT_TYPES: Final = ("NodePort", "LoadBalancer")
_Drained = list[tuple[str, str]]
# The index of slices by the uids of the pods that they say are stopping.
_BY_STOPPING: Final = "stopping"


class OnStopping(Protocol):
    """Is told of a pod that is to stop; blind and awaits as in Drains.pod_stopping."""

    def __call__(self, pod: ApiObject, *, blind: bool, awaits: bool) -> None: ...


def _stopping(endpoints: ApiObject) -> Iterable[str]:
    return sorted(stopping_uids(endpoints))


class Feed:
    """Turns informers' changes into sessions' orders.

    on_stopping and on_gone are told of pods; on_drained of pods that a change of slices has drained.
    """

    def __init__(
        self,
        informers: Informers,
        sessions: dict[str, AgentSession],
        drains: Drains,
        *,
        on_stopping: OnStopping,
        on_gone: Callable[[ApiObject], None],
        on_drained: Callable[[_Drained], None],
    ) -> None:
        self.pods = informers.of(POD)
        self.services = informers.of(SERVICE)
        self.slices = informers.of(ENDPOINT_SLICE)
        self.slices.add_index(_BY_STOPPING, _stopping)
        self._sessions = sessions
        self._drains = drains
        self._on_stopping = on_stopping
        self._on_gone = on_gone
        self._on_drained = on_drained
        # Orders for what every agent has to know, encoded once for all of them.
        self._shared: dict[Hashable, bytes] = {}
        self._ends: list[Callable[[], None]] = []

    def start(self) -> None:
        """Subscribes; what is there already is taken in at once."""
        self._ends = [
            self.services.subscribe(self._service_changed),
            self.slices.subscribe(self._slice_changed),
            self.pods.subscribe(self._pod_changed),
        ]

    def stop(self) -> None:
        """Unsubscribes."""
        for end in self._ends:
            end()
        self._ends = []

    async def wait_current(self, revision: int) -> None:
        """Returns once all that happened up to the revision is known here.

        Raises: DeadlineExceeded.
        """
        for informer in (self.pods, self.services, self.slices):
            await informer.wait_revision(revision)

    def picture(self, node: str) -> dict[Hashable, bytes]:
        """Everything that the node's agent has to know now."""
        picture = dict(self._shared)
        for pod in self.pods.by_index(BY_NODE, node):
            picture[_key(pod)] = order(pod)
        return picture

    def _pod_changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        before = old.spec.nodeName if old is not None else ""
        after = new.spec.nodeName if new is not None else ""
        if old is not None and before and before != after:
            self._tell(before, old, removed=True)
        if new is not None and after and (before != after or old is None or _concerns_agent(old, new)):
            self._tell(after, new)
        if new is None:
            assert old is not None
            self._on_gone(old)
        elif new.metadata.HasField("deletionTimestamp") and after:
            self._on_stopping(new, blind=old is None, awaits=self._is_slice_due(new))

    def _is_slice_due(self, pod: ApiObject) -> bool:
        """Whether a slice is still to say that the pod stops, and may list it as ready before: the pod is
        ready, a Service selects it, and the slices that are known do not speak of its end."""
        uid = pod.metadata.uid
        if self._drains.is_listed(uid) or not podq.is_ready(pod) or not pod.status.podIP:
            return False
        if self.slices.by_index(_BY_STOPPING, uid):
            return False
        labels = pod.metadata.labels
        return any(
            keeps_slices(service) and all(labels.get(k) == v for k, v in service.spec.selector.items())
            for service in self.services.list(pod.metadata.namespace)
        )

    def _tell(self, node: str, pod: ApiObject, *, removed: bool = False) -> None:
        session = self._sessions.get(node)
        if session is not None:
            session.push(_key(pod), order(pod, removed=removed))

    def _service_changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        if new is not None and new.spec.type in _NODE_PORT_TYPES:
            self._tell_all(new)
        elif old is not None and old.spec.type in _NODE_PORT_TYPES:
            self._tell_all(old, removed=True)

    def _slice_changed(self, old: ApiObject | None, new: ApiObject | None) -> None:
        # Counted before it is sent: what is sent from now on contains it.
        drained = self._drains.slice_changed(old, new)
        if new is not None:
            self._tell_all(new)
        elif old is not None:
            self._tell_all(old, removed=True)
        self._on_drained(drained)

    def _tell_all(self, obj: ApiObject, *, removed: bool = False) -> None:
        key, entry = _key(obj), order(obj, removed=removed)
        if removed:
            self._shared.pop(key, None)
        else:
            self._shared[key] = entry
        for session in self._sessions.values():
            session.push(key, entry)


def _key(obj: ApiObject) -> Hashable:
    """One per object that ever was: another of the same name does not take its place unseen."""
    return kind_of(obj).number, obj.metadata.uid


def _concerns_agent(old: ApiObject, new: ApiObject) -> bool:
    """Whether more has changed than the status, which the agent itself has said.

    What the master doubts it is to say again: the doubt may have been written after its last word.
    """
    before, after = old.metadata, new.metadata
    return bool(
        before.uid != after.uid
        or before.deletionTimestamp != after.deletionTimestamp
        or before.deletionGracePeriodSeconds != after.deletionGracePeriodSeconds
        or before.labels != after.labels
        or before.annotations != after.annotations
        or old.spec != new.spec
        or (is_doubted(new) and not is_doubted(old))
    )
