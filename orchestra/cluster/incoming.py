"""A snapshot on its way in from the leader: piece by piece to disk, then in place of the machine."""

from collections.abc import Sequence

from orchestra.cluster.datadir import DataDirectory
from orchestra.cluster.io import IoThread
from orchestra.mvcc.machine import Machine
from orchestra.raft.model import HardState, SnapshotChunk, SnapshotMark
from orchestra.storage.snapshots import SnapshotWriter


class IncomingSnapshot:
    """At most one at a time. After DiskFull: `abort`, and the core is told that the pieces are lost."""

    def __init__(self, directory: DataDirectory, io: IoThread) -> None:
        """io: the log's."""
        self._directory = directory
        self._io = io
        self._writer: SnapshotWriter | None = None

    async def take(self, chunks: Sequence[SnapshotChunk]) -> None:
        """Writes pieces, in order; number 0 begins anew. Raises: StorageError."""
        await self._io.run(lambda: self._take(chunks))

    def _take(self, chunks: Sequence[SnapshotChunk]) -> None:
        for chunk in chunks:
            if chunk.sequence == 0:
                self.abort()
                self._writer = self._directory.begin_snapshot(chunk.mark)
            assert self._writer is not None
            self._writer.write(chunk.data)

    async def install(self, mark: SnapshotMark, hard_state: HardState | None) -> Machine:
        """Puts it in place of state and log; the machine that it holds. Raises: StorageError."""
        writer, self._writer = self._writer, None
        assert writer is not None
        return await self._io.run(lambda: self._directory.install(writer, mark, hard_state))

    def abort(self) -> None:
        """Leaves no trace of what has come in so far. Blocks."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abort()
