"""A client that keeps a lease alive, and remembers until when it was promised to live."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from orchestra.mvcc.model import Put
from orchestra.pb import etcd_rpc_pb2 as pb
from scripts.chaos_scenarios.calls import CALL_SECONDS, Book, Endpoint, NoAnswer

TTL_SECONDS: Final = 2
RENEW_SECONDS: Final = 0.5
RETRY_SECONDS: Final = 0.1


@dataclass(slots=True)
class Held:
    """A lease with its key. until: promised to live so long."""

    lease: int
    key: bytes
    until: float
    revoked: bool = False


class LeaseHolder:
    """Keeps one lease at a time, with a key on it; takes another when it has lost one."""

    def __init__(self, name: str, at: Endpoint, book: Book, ending: asyncio.Event) -> None:
        self.held: list[Held] = []
        self._name = name
        self._at = at
        self._book = book
        self._ending = ending

    async def run(self) -> None:
        """Until it is to end; the last lease is left to itself."""
        while not self._ending.is_set():
            try:
                held = await self._grant()
                await self._keep(held)
            except NoAnswer:
                await self._pause(RETRY_SECONDS)

    async def _grant(self) -> Held:
        asked = time.monotonic()
        request = pb.LeaseGrantRequest(TTL=TTL_SECONDS)
        answer = await self._at.ask(self._at.leases.LeaseGrant(request, timeout=CALL_SECONDS))
        key = f"chaos/lease/{self._name}/{len(self.held)}".encode()
        held = Held(answer.ID, key, asked + answer.TTL)
        self.held.append(held)
        await self._at.put(Put(held.key, f"{self._name} {len(self.held)} {held.lease}".encode(), held.lease))
        return held

    async def _keep(self, held: Held) -> None:
        """Until the lease is lost, or revoked after a while."""
        renewals = 0
        while not self._ending.is_set():
            await self._pause(RENEW_SECONDS)
            renewals += 1
            if renewals == 8:
                await self._revoke(held)
                return
            asked = time.monotonic()
            try:
                answer = await self._at.ask(self._renewed(held.lease))
            except NoAnswer:
                await self._pause(RETRY_SECONDS)
                continue
            if answer.TTL <= 0:
                if time.monotonic() < held.until:
                    self._book.defects.append(
                        f"lease {held.lease} was said to have ended {held.until - time.monotonic():.2f} s too early"
                    )
                return
            held.until = max(held.until, asked + answer.TTL)

    async def _revoke(self, held: Held) -> None:
        held.revoked = True
        request = pb.LeaseRevokeRequest(ID=held.lease)
        await self._at.ask(self._at.leases.LeaseRevoke(request, timeout=CALL_SECONDS))

    async def _renewed(self, lease: int) -> pb.LeaseKeepAliveResponse:
        async def once() -> AsyncIterator[pb.LeaseKeepAliveRequest]:
            yield pb.LeaseKeepAliveRequest(ID=lease)

        async for answer in self._at.leases.LeaseKeepAlive(once(), timeout=CALL_SECONDS):
            return answer
        raise NoAnswer("the stream ended without an answer", void=False)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass
