"""What the master knows of its agents' lives, in memory only: nothing here is ever stored.

The session hub writes it (a stream opened, a heartbeat came, a stream ended); the node lifecycle controller
reads it and subscribes. Free of I/O; time comes in as monotonic nanoseconds. After a start of the master
nothing is known: a node that has not dialled yet has no record (state() is None).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestra.base.clock import NS_PER_SECOND
from orchestra.base.log import get_logger

_log = get_logger("liveness")


@dataclass(frozen=True, slots=True)
class NodeState:
    """The newest that is known of one node's agent.

    instance: the agent process's own id, new at each of its starts.
    since_ns: when `connected` took its present value; monotonic.
    heard_ns: when anything was heard last; monotonic.
    restarting_until_ns: while disconnected after a goodbye that promised to be back; monotonic.
    """

    node: str
    instance: str
    connected: bool
    since_ns: int
    heard_ns: int
    restarting_until_ns: int | None = None

    def suspect_since_ns(self) -> int | None:
        """From when on the node's absence counts: None while connected; after a promise, its end."""
        if self.connected:
            return None
        return self.since_ns if self.restarting_until_ns is None else self.restarting_until_ns


class Liveness:
    """The record of all nodes. Subscribers are called at once, in the caller's turn, and must not block.

    opened_ns: from when on agents could dial in; None while they cannot yet; 0 if nobody says.
    arrived_ns: when a node was first heard of that had not been before. Both monotonic.
    """

    def __init__(self) -> None:
        self.opened_ns: int | None = 0
        self.arrived_ns = 0
        self._states: dict[str, NodeState] = {}
        self._subscribers: list[Callable[[str], None]] = []

    def connected(self, node: str, instance: str, now_ns: int) -> None:
        """The agent's stream is open and registered."""
        if node not in self._states:
            self.arrived_ns = now_ns
        self._set(NodeState(node, instance, connected=True, since_ns=now_ns, heard_ns=now_ns))

    def heartbeat(self, node: str, now_ns: int) -> None:
        """Something was heard; subscribers are not told. Of an unknown or closed session: ignored."""
        known = self._states.get(node)
        if known is not None and known.connected:
            self._states[node] = replace(known, heard_ns=now_ns)

    def disconnected(
        self, node: str, restarting_seconds: int | None, now_ns: int, instance: str | None = None
    ) -> None:
        """The agent's stream ended; with `restarting_seconds` it said it would be back by then.

        instance: whose stream; the end of a stream that another instance has replaced changes nothing.
        """
        known = self._states.get(node)
        if known is None or not known.connected or (instance is not None and instance != known.instance):
            return
        until_ns = None if restarting_seconds is None else now_ns + restarting_seconds * NS_PER_SECOND
        self._set(replace(known, connected=False, since_ns=now_ns, restarting_until_ns=until_ns))

    def forget(self, node: str) -> None:
        """The Node object is gone and its agent with it: keeps the record from growing for ever."""
        known = self._states.get(node)
        if known is not None and not known.connected:
            del self._states[node]

    def state(self, node: str) -> NodeState | None:
        """What is known of one node, None if it has not connected since the master started."""
        return self._states.get(node)

    def nodes(self) -> dict[str, NodeState]:
        """A copy of everything that is known."""
        return dict(self._states)

    def connected_count(self) -> int:
        """How many agents are connected now."""
        return sum(state.connected for state in self._states.values())

    def subscribe(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Calls back with the node's name at each connect and disconnect; the result ends it."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def _set(self, state: NodeState) -> None:
        self._states[state.node] = state
        for callback in tuple(self._subscribers):
            try:
                callback(state.node)
            except Exception as error:  # noqa: BLE001 - a subscriber's defect must not end an agent's session
                _log.error("a liveness subscriber failed", error, node=state.node)
