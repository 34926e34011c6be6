"""Whether one history explains everything that clients and watchers were told, and every member has it.

The history is what a watch of everything since the first revision tells. The check of the calls is the
simulation's own (tests.simulation.group.history): each answer carries the revision that explains it.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc.aio

from orchestra.aio.rpc.channel import open_channel
from orchestra.mvcc.model import Event, EventType, Put, Txn
from orchestra.pb import etcd_cluster_pb2 as cluster_pb
from orchestra.pb import etcd_cluster_pb2_grpc as cluster_grpc
from orchestra.pb import etcd_rpc_pb2 as pb
from orchestra.pb import etcd_rpc_pb2_grpc as rpc
from scripts.chaos_scenarios import wire
from scripts.chaos_scenarios.calls import Book
from scripts.chaos_scenarios.leasing import Held
from scripts.chaos_scenarios.watching import PREFIX, next_of
from tests.simulation.group.history import History
from tests.simulation.group.record import Record, Violation
from tests.simulation.group.watches import Watched

READ_SECONDS: Final = 15.0


class Told(Record):
    """A record of what happened, as a watch told it."""

    def __init__(self) -> None:
        super().__init__(time.monotonic)

    def took(self, events: Sequence[Event]) -> None:
        """Events of whole revisions, the next ones. Raises: Violation when one is missing, or out of turn."""
        for event in events:
            revision = event.kv.mod_revision
            if revision == self.newest_revision + 1:
                self.newest_revision = revision
                self.revisions.append(revision)
                self.events[revision] = ()
            elif revision != self.newest_revision or revision == 1:
                raise Violation(f"revision {revision} was told after {self.newest_revision}")
            self.events[revision] = (*self.events[revision], event)
            self._by_key.setdefault(event.kv.key, []).append(event.kv)


@dataclass(slots=True)
class Findings:
    """What was looked at, and what does not hold."""

    seen: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


async def read_history(address: str, revision: int) -> Told:
    """Everything that one member knows, up to a revision. Raises: Violation, OSError."""
    told = Told()
    async with open_channel(address) as channel:
        stub: rpc.WatchAsyncStub = rpc.WatchStub(channel)
        stream = stub.Watch(wait_for_ready=True)
        create = pb.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=1, prev_kv=True)
        try:
            async with asyncio.timeout(READ_SECONDS):
                await stream.write(pb.WatchRequest(create_request=create))
                while told.newest_revision < revision:
                    response = await next_of(stream)
                    if response is None or response.canceled:
                        raise OSError(f"{address} ends the watch: {response}")
                    events = [wire.event(each) for each in response.events]
                    told.took([each for each in events if each.kv.mod_revision <= revision])
        except grpc.aio.AioRpcError as error:
            raise OSError(
                f"{address} does not tell its history: {error.code().name} {error.details()}"
            ) from None
        except TimeoutError:
            raise OSError(
                f"{address} told its history up to {told.newest_revision}, not to {revision}, in {READ_SECONDS:g} s"
            ) from None
        finally:
            stream.cancel()
    return told


async def newest_revision(address: str) -> int:
    """By a linearizable read. Raises: OSError."""
    async with open_channel(address) as channel:
        stub: rpc.KVAsyncStub = rpc.KVStub(channel)
        request = pb.RangeRequest(key=b"chaos", count_only=True)
        try:
            answer = await stub.Range(request, timeout=READ_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise OSError(f"{address} cannot be read: {error.code().name} {error.details()}") from None
        return answer.header.revision


async def hash_at(address: str, revision: int) -> tuple[int, int]:
    """(hash, compact revision) of a member's store. Raises: OSError."""
    async with open_channel(address) as channel:
        stub: cluster_grpc.MaintenanceAsyncStub = cluster_grpc.MaintenanceStub(channel)
        try:
            said = await stub.HashKV(cluster_pb.HashKVRequest(revision=revision), timeout=READ_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise OSError(f"{address} gives no hash: {error.code().name} {error.details()}") from None
        return said.hash, said.compact_revision


async def same_everywhere(addresses: dict[str, str], findings: Findings) -> Told:
    """Every member's history and hash. Raises: OSError, Violation."""
    revision = max([await newest_revision(address) for address in addresses.values()])
    for address in addresses.values():
        # Nothing but waiting until it has applied that much.
        await newest_revision(address)
    histories = {name: await read_history(address, revision) for name, address in addresses.items()}
    hashes = {name: await hash_at(address, revision) for name, address in addresses.items()}
    first, *others = histories
    for other in others:
        if histories[other].events != histories[first].events:
            findings.violations.append(_difference(first, histories[first], other, histories[other]))
    if len(set(hashes.values())) != 1:
        findings.violations.append(f"at revision {revision} the members' hashes differ: {hashes}")
    findings.seen.append(f"{revision} revisions at {len(addresses)} members")
    return histories[first]


def _difference(one: str, mine: Told, other: str, theirs: Told) -> str:
    for revision in mine.revisions:
        if mine.events[revision] != theirs.events.get(revision):
            return (
                f"revision {revision} is {mine.events[revision]} at {one} and "
                f"{theirs.events.get(revision)} at {other}"
            )
    return f"{one} and {other} know different histories"


def check_calls(books: Sequence[Book], record: Told, findings: Findings) -> None:
    """Strict serializability, nothing lost, nothing twice; and nothing that nobody wrote.

    books: the last one's calls are looked at; others wrote before.
    """
    book = books[-1]
    try:
        book.history.check(record)
    except Violation as violation:
        findings.violations.append(str(violation))
    asked = {
        op.value
        for each in books
        for call in each.history.calls
        if isinstance(call.request, Txn)
        for op in (*call.request.success, *call.request.failure)
        if isinstance(op, Put)
    }
    for events in record.events.values():
        for event in events:
            ours = event.type is EventType.PUT and event.kv.key.startswith(PREFIX)
            if ours and event.kv.value not in asked:
                findings.violations.append(f"{event} was written by nobody")
    for defect in book.defects:
        findings.violations.append(defect)
    findings.seen.append(f"{len(book.history.calls)} calls")


def up_to(book: Book, revision: int) -> Book:
    """What has to hold of a book when everything after a revision is given up."""
    calls = [call for call in book.history.calls if call.result is None or call.result.revision <= revision]
    return Book(History(calls), defects=book.defects)


def watched_up_to(watched: Watched, revision: int) -> Watched:
    """The same for a watcher."""
    events = [event for event in watched.events if event.kv.mod_revision <= revision]
    cut = Watched(watched.name, watched.key, watched.range_end, watched.prev_kv, watched.start)
    cut.told, cut.events = min(watched.told, revision), events
    return cut


def check_watches(watches: Iterable[Watched], record: Record, resumed: int, findings: Findings) -> None:
    """Complete, ordered, unique."""
    count = 0
    for watched in watches:
        try:
            watched.check(record)
        except Violation as violation:
            findings.violations.append(f"{str(violation).splitlines()[0]}; {_missed(watched, record)}")
        count += len(watched.events)
    findings.seen.append(f"{count} events watched over {resumed} resumptions")


def _missed(watched: Watched, record: Record) -> str:
    events = record.events_between(watched.start, watched.told, watched.key, watched.range_end)
    happened = {event.kv.mod_revision for event in events}
    told = {event.kv.mod_revision for event in watched.events}
    return f"revisions missed {sorted(happened - told)[:20]}, invented {sorted(told - happened)[:20]}"


def check_leases(held: Sequence[Held], book: Book, findings: Findings) -> None:
    """None ended, as far as its key's watchers saw, while it was kept alive."""
    seen = {key: moment for (key, _), moment in book.gone.items()}
    for lease in held:
        gone = seen.get(lease.key)
        if gone is not None and not lease.revoked and gone < lease.until:
            findings.violations.append(
                f"lease {lease.lease} of {lease.key!r} ended {lease.until - gone:.2f} s before it was promised to"
            )
    findings.seen.append(f"{len(held)} leases")


async def lease_keys(address: str) -> int:
    """How many keys hang on leases. Raises: OSError."""
    async with open_channel(address) as channel:
        stub: rpc.KVAsyncStub = rpc.KVStub(channel)
        request = pb.RangeRequest(key=b"chaos/lease/", range_end=b"chaos/lease0", count_only=True)
        try:
            answer = await stub.Range(request, timeout=READ_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise OSError(f"{address} cannot be read: {error.code().name} {error.details()}") from None
        return answer.count


def newest_of(record: Record) -> int:
    """The last revision of the workload's keys: what a watcher of them can know of."""
    return max(
        (
            event.kv.mod_revision
            for events in record.events.values()
            for event in events
            if event.kv.key.startswith(PREFIX)
        ),
        default=0,
    )
