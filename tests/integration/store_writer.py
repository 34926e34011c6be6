"""A process that writes to a store and says on standard output what was answered, until it is killed.

Usage: store_writer.py DATA_DIR ROUND
"""

import asyncio
import sys

from orchestra.cluster.member import Member
from orchestra.cluster.settings import MemberSettings
from orchestra.mvcc.model import Put, Txn

WRITERS = 16


async def main(data_dir: str, round_: str) -> None:
    """Writes ever new keys from several tasks; a line is a key whose write was answered."""
    settings = MemberSettings(segment_bytes=50_000, snapshot_log_bytes=200_000)
    async with await Member.open(data_dir, settings=settings) as member:

        async def write(writer: int) -> None:
            n = 0
            while True:
                key = f"{round_}/{writer}/{n}"
                await member.store.txn(Txn((), (Put(key.encode(), key.encode() * 20),)))
                sys.stdout.write(key + "\n")
                sys.stdout.flush()
                n += 1

        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
