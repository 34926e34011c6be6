"""Taking snapshots while the member goes on.

The state is caught at once, by references; encoding goes chunk by chunk between other work of the event loop,
writing on a thread of its own, and the log's beginning goes when two snapshots are safe.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from orchestra.base.log import get_logger
from orchestra.cluster.datadir import DataDirectory
from orchestra.cluster.io import IoThread
from orchestra.cluster.settings import MemberSettings
from orchestra.mvcc.machine import Machine
from orchestra.mvcc.snapshot import snapshot
from orchestra.raft.model import SnapshotMark
from orchestra.storage.errors import DiskFull, StorageError

log = get_logger("cluster.snapshots")


class SnapshotTaker:
    """Takes a snapshot when the log has grown enough since the last one.

    state: the member's machine and the mark of what it has applied, at the same moment. taken: told of each
    mark that there is a snapshot of now, so that the member may forget entries up to it in memory.
    """

    def __init__(
        self,
        directory: DataDirectory,
        settings: MemberSettings,
        log_io: IoThread,
        io: IoThread,
        state: Callable[[], tuple[SnapshotMark, Machine]],
        taken: Callable[[SnapshotMark], None],
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._log_io = log_io
        self._io = io
        self._state = state
        self._taken = taken
        self._due = asyncio.Event()
        self._stopping = False
        # Where the log was at the last one.
        self._index = directory.mark.index
        self._appended_bytes = -directory.log_bytes

    def consider(self, applied: int) -> None:
        """Called when entries have been applied: makes a snapshot due, or not."""
        directory, settings = self._directory, self._settings
        grown = directory.journal.appended_bytes - self._appended_bytes
        if applied > self._index and (
            applied - self._index >= settings.snapshot_log_entries
            or grown >= max(settings.snapshot_log_bytes, 2 * directory.snapshot_bytes)
        ):
            self._due.set()

    def installed(self, index: int) -> None:
        """Called when a snapshot from another member has replaced the state."""
        self._index = index
        self._appended_bytes = self._directory.journal.appended_bytes

    async def run(self) -> None:
        """Takes snapshots as they become due, until `stop`. Raises: StorageError."""
        while not self._stopping:
            await self._due.wait()
            self._due.clear()
            if not self._stopping:
                try:
                    await self._take()
                except DiskFull as error:
                    log.warning("took no snapshot", why=error)

    def stop(self) -> None:
        """Ends `run` soon; a snapshot that is being written is given up."""
        self._stopping = True
        self._due.set()

    async def _take(self) -> None:
        directory = self._directory
        mark, machine = self._state()
        if mark.index <= directory.mark.index:
            return
        # Whatever comes of this one, the next is due when the log has grown as much again.
        self._index = mark.index
        self._appended_bytes = directory.journal.appended_bytes
        chunks = snapshot(machine)
        writer = await self._io.run(lambda: directory.begin_snapshot(mark))
        try:
            for chunk in chunks:
                await self._io.run(partial(writer.write, chunk))
                if self._stopping:
                    await self._io.run(writer.abort)
                    return
            await self._io.run(writer.seal)
        except StorageError:
            await self._io.run(writer.abort)
            raise
        # On the log's thread: one from another member may be put in place there meanwhile.
        gone = await self._log_io.run(lambda: directory.keep(writer, mark))
        if gone is not None:
            log.info(
                "took a snapshot", index=mark.index, bytes=directory.snapshot_bytes, log_files_removed=gone
            )
            self._taken(mark)
