"""Taking snapshots while the member goes on.

The state is caught at once, by references; encoding goes chunk by chunk between other work of the event loop,
writing on a thread of its own, and the log's beginning goes when two snapshots are safe.
"""

import asyncio
from functools import partial

from orchestra.base.log import get_logger
from orchestra.cluster.datadir import DataDirectory
from orchestra.cluster.io import IoThread
from orchestra.cluster.settings import MemberSettings
from orchestra.mvcc.snapshot import snapshot
from orchestra.storage.errors import DiskFull, StorageError

log = get_logger("cluster.snapshots")


class SnapshotTaker:
    """Takes a snapshot when the log has grown enough since the last one."""

    def __init__(
        self, directory: DataDirectory, settings: MemberSettings, log_io: IoThread, io: IoThread
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._log_io = log_io
        self._io = io
        self._due = asyncio.Event()
        self._stopping = False
        self._last_bytes = directory.snapshot_bytes
        # Where the log was at the last one.
        self._index = directory.snapshot_index
        self._appended_bytes = -directory.replayed_bytes
        self.consider()

    def consider(self) -> None:
        """Called after writes: makes a snapshot due, or not."""
        wal, settings = self._directory.wal, self._settings
        entries = self._directory.machine.applied_index - self._index
        grown = wal.appended_bytes - self._appended_bytes
        if entries >= settings.snapshot_log_entries or grown >= max(
            settings.snapshot_log_bytes, self._last_bytes
        ):
            self._due.set()

    async def run(self) -> None:
        """Takes snapshots as they become due, until `stop`. Raises: StorageError."""
        while not self._stopping:
            await self._due.wait()
            # Whatever comes of this one, the next is due when the log has grown as much again.
            self._index = self._directory.machine.applied_index
            self._appended_bytes = self._directory.wal.appended_bytes
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
        index = self._directory.machine.applied_index
        chunks = snapshot(self._directory.machine)
        snapshots = self._directory.snapshots
        writer = await self._io.run(lambda: snapshots.begin(index))
        try:
            for chunk in chunks:
                await self._io.run(partial(writer.write, chunk))
                if self._stopping:
                    await self._io.run(writer.abort)
                    return
            self._last_bytes = await self._io.run(writer.commit)
        except StorageError:
            await self._io.run(writer.abort)
            raise
        useless = await self._io.run(snapshots.prune)
        gone = await self._log_io.run(lambda: self._directory.wal.drop_through(useless))
        log.info("took a snapshot", index=index, bytes=self._last_bytes, log_files_removed=gone)
