"""A group of members on one timeline: the real member loop on the real core, log and machine, with disks,
network, clocks and clients of the world's own. One seed is one world.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import count
from typing import Any

from orchestra.cluster.bootstrap import Bootstrap
from orchestra.cluster.settings import MemberSettings
from orchestra.mvcc.retention import Retention
from orchestra.mvcc.snapshot import state_hash
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.log import RaftLog
from orchestra.raft.model import Configuration, Role
from tests.simulation.group.clients import Watcher
from tests.simulation.group.history import History
from tests.simulation.group.leases import Promises
from tests.simulation.group.network import Network
from tests.simulation.group.node import Node
from tests.simulation.group.record import Record, Violation, recording, watching_commits
from tests.simulation.group.watches import Watched
from tests.simulation.processes import Process, Timeline
from tests.simulation.trace import Trace

CLUSTER_ID = "0123456789abcdef0123456789abcdef"
SETTLE_SECONDS = 60.0
# What clients do most of.
THEMES = ("mixed", "mixed", "reads", "swaps", "leases", "compactions")
# What a lease may have left when the world gets quiet, and what leaders may give it on top.
LEASES_END_SECONDS = 15.0
SETTINGS = MemberSettings(
    segment_bytes=16 * 1024,
    snapshot_log_bytes=12 * 1024,
    snapshot_log_entries=60,
    snapshot_catch_up_entries=20,
    # So that who was away needs a snapshot soon.
    snapshot_catch_up_bytes=4 * 1024,
    snapshot_catch_up_bytes_max=6 * 1024,
    retention=Retention(),
)


class World:
    """A group by seed. `scene` says what befalls it while clients are busy; then it heals and must converge."""

    def __init__(self, seed: int, voters: int = 3) -> None:
        self.seed = seed
        self.timeline = Timeline()
        self.trace = Trace(lambda: self.timeline.now)
        self.record = Record(lambda: self.timeline.now)
        self.history = History()
        self.promises = Promises()
        self.network = Network(self.timeline, self.chance("network"))
        self.driver = self.timeline.process("world")
        self.nodes: dict[int, Node] = {}
        made = self.chance("world")
        self.theme = made.choice(THEMES)
        self.clients_each = made.choice((1, 2, 4))
        self.client_pause = made.choice((0.04, 0.1, 0.3, 0.3))
        self.slow_disks = made.random() < 0.3
        # Small messages and few of them, in some worlds: then a log comes piece by piece.
        self.settings = replace(
            SETTINGS,
            append_bytes_max=made.choice((100, 400, SETTINGS.append_bytes_max)),
            inflight_max=made.choice((1, 3, SETTINGS.inflight_max)),
        )
        self.network.usual_delay = self.network.delay = made.choice((0.002, 0.002, 0.02, 0.1))
        self.answered = 0
        self.quiet = False
        self.done = False
        self.watchers: list[Watcher] = []
        self.watching: dict[str, Process | None] = {}
        self.leaders: dict[int, int] = {}
        self.removed: set[int] = set()
        # Whoever was ever to be removed: nobody may know whether it was.
        self.unwanted: set[int] = set()
        self.broken: list[str] = []
        ids = range(1, voters + 1)
        # Two that join at the same time are two, and so are their clients' values.
        self.numbers = count(voters + 1)
        self.initial = Configuration(
            frozenset(map(node_id, ids)),
            context=pb.Membership(members=[_info(number) for number in ids]).SerializeToString(
                deterministic=True
            ),
        )
        for number in ids:
            self.add_node(number, node_id(number), self.initial)
        for number, (key, end) in enumerate(((b"k/", b"k0"), (b"k/03", b""), (b"k/", b"k/04"))):
            watched = Watched(f"watcher {number}", key, end, number != 1, 1 if number == 0 else 2)
            self.watchers.append(Watcher(self, watched, self.chance(f"watcher {number}")))
        self.timeline.after_turn = self._after_turn

    def chance(self, what: str) -> random.Random:
        """A generator of its own for each part, so that one drawing more does not change another."""
        return random.Random(f"{self.seed}/{what}")

    def say(self, text: str) -> None:
        """A line of the trace."""
        self.trace.say(text)

    def add_node(self, number: int, id_: int, configuration: Configuration) -> Node:
        """A machine, switched off."""
        bootstrap = Bootstrap(CLUSTER_ID, id_, f"m{number}", configuration)
        node = self.nodes[number] = Node(self, number, bootstrap)
        return node

    def up(self) -> list[Node]:
        """The nodes with a member that is open."""
        return [node for node in self.nodes.values() if node.member is not None]

    def leader(self) -> Node | None:
        """Who leads in the highest term, of those that are up."""
        leading = [
            (node.member.status().term, node)
            for node in self.up()
            if node.member is not None and node.member.status().role == Role.LEADER
        ]
        return max(leading, key=lambda each: each[0])[1] if leading else None

    def may_end(self, node: Node) -> bool:
        """Whether a member may end so: it was removed."""
        return node.id in self.unwanted

    # Watching the members.

    def _after_turn(self, process: Process) -> None:
        if self.broken:
            raise Violation(self.broken[0])
        if self.timeline.unheard:
            name, message, error = self.timeline.unheard[0]
            raise Violation(f"{name}: {message}: {error!r}") from error
        for node in self.nodes.values():
            if node.process is process and node.member is not None:
                self._check_leader(node)
                return

    def committing(self, log: RaftLog, index: int) -> None:
        """A commit index is about to move. A leader's: a majority has it on disk, and it is of its own term
        (paper §5.3, §5.4.2). Raises: Violation.
        """
        node = next((node for node in self.up() if node.member and node.member.core._state.log is log), None)
        if node is None or node.member is None or node.member.core.role is not Role.LEADER:
            return
        core = node.member.core
        term = log.term_at(index)
        if term != core.term:
            raise Violation(f"{node.name} commits entry {index} of term {term} in term {core.term}")
        now = log.configuration
        if now.everyone == {node.id}:
            return
        have = {each.id for each in self.nodes.values() if each.has_on_disk(index, term)}
        for side in filter(None, (now.voters, now.outgoing)):
            if 2 * len(side & have) <= len(side):
                held = " ".join(sorted(each.name for each in self.nodes.values() if each.id in have))
                raise Violation(
                    f"{node.name} commits entry {index}, which only {held or 'nobody'} has on disk"
                )

    def _check_leader(self, node: Node) -> None:
        """One leader a term (paper §5.2), and it has every entry that was ever applied (§5.4)."""
        assert node.member is not None
        core = node.member.core
        if core.role is not Role.LEADER:
            return
        known = self.leaders.get(core.term)
        if known is not None:
            if known != node.id:
                raise Violation(f"{known:x} and {node.id:x} both lead in term {core.term}")
            return
        self.leaders[core.term] = node.id
        self.say(f"{node.name} leads in term {core.term}")
        newest = self.record.newest_index
        if core.last_index < newest:
            raise Violation(f"{node.name} leads with entries up to {core.last_index}; {newest} was applied")

    # The course of a world.

    def play(self, scene: Callable[["World"], Coroutine[Any, Any, None]]) -> tuple[str, float]:
        """The whole of it: hash and seconds. Raises: Violation and others, with the trace in their notes."""
        try:
            with recording(self.record), watching_commits(self.committing):
                task = self.driver.start(self._course(scene), "course")
                self.timeline.run(task)
            self._check()
            return self.trace.hash(), self.timeline.now
        finally:
            self.timeline.close()

    async def _course(self, scene: Callable[["World"], Coroutine[Any, Any, None]]) -> None:
        for node in list(self.nodes.values()):
            node.boot()
        await scene(self)
        self.say("the world heals")
        self.network.calm()
        self.network.mend()
        self.quiet = True
        for node in self.nodes.values():
            node.disk.full = node.disk.sync_fails = False
            node.disk.room_for_snapshots = None
            node.disk.fuse = None
            if node.process is not None:
                node.process.stopped = False
        await self._converge()
        self.done = True

    async def _converge(self) -> None:
        """Everyone who belongs to it comes back, and all come to the same state."""
        deadline = self.timeline.now + SETTLE_SECONDS
        settled_at: float | None = None
        while True:
            for node in self._belonging():
                if not node.up:
                    node.boot()
            if self._settled():
                settled_at = settled_at or self.timeline.now
                if self._leases_ended() or self.timeline.now - settled_at > LEASES_END_SECONDS:
                    break
            else:
                settled_at = None
            if self.timeline.now > deadline:
                raise Violation(
                    f"no agreement {SETTLE_SECONDS} s after everything was well: {self.describe()}"
                )
            await asyncio.sleep(0.2)
        member = self.up()[0].member
        assert member is not None
        if member.machine.leases:
            raise Violation(f"leases {sorted(member.machine.leases)} live on though nobody keeps them")
        hashes = {state_hash(node.member.machine) for node in self._belonging() if node.member is not None}
        if len(hashes) != 1:
            raise Violation(f"one index, {len(hashes)} states: {self.describe()}")

    def _leases_ended(self) -> bool:
        return all(not node.member.machine.leases for node in self._belonging() if node.member is not None)

    def _settled(self) -> bool:
        leader = self.leader()
        if leader is None or leader.member is None:
            return False
        said = leader.member.status()
        for node in self._belonging():
            if node.member is None:
                return False
            status = node.member.status()
            if (status.applied_index, status.leader) != (said.applied_index, leader.id):
                return False
        return (
            not leader.member.core.configuration.is_joint and said.applied_index >= self.record.newest_index
        )

    def _belonging(self) -> list[Node]:
        """The machines of the members, as the leader knows them; all that may be some while nobody leads."""
        leader = self.leader()
        if leader is None or leader.member is None:
            return [node for node in self.nodes.values() if node.id not in self.removed]
        return [node for node in self.nodes.values() if node.id in leader.member.core.configuration.everyone]

    def describe(self) -> str:
        """Each node in a line."""
        lines = []
        for node in self.nodes.values():
            if node.member is None:
                lines.append(f"{node.name}: {'opening' if node.up else 'down'} {node.ended}")
            else:
                lines.append(f"{node.name}: {node.member.status()}")
        return "\n  ".join(["", *lines])

    def _check(self) -> None:
        self.history.check(self.record)
        self.promises.check(self.record)
        for watcher in self.watchers:
            watcher.watched.check(self.record)
        self.say(
            f"{self.answered} answers, {self.record.newest_index} entries, revision {self.record.newest_revision}, "
            f"{len(self.leaders)} terms with a leader, {self.network.sent} messages"
        )


def node_id(number: int) -> int:
    """The id of a node that is there from the beginning."""
    return 0x1111111111111111 * number


def _info(number: int) -> pb.MemberInfo:
    return pb.MemberInfo(id=node_id(number), name=f"m{number}", peer_addresses=[f"10.0.0.{number}:7071"])
