"""A process whose files may not grow past a limit: it writes until it is refused, then with more room again.

Usage: store_filler.py DATA_DIR. Prints how many writes were answered before and after.
"""

import asyncio
import resource
import sys

from orchestra.cluster.member import Member
from orchestra.mvcc.model import Put, Range, Txn
from orchestra.store.contract import NoSpace

LIMIT_BYTES = 30_000


async def main(data_dir: str) -> None:
    """Fills, reads, gets room, goes on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with await Member.open(data_dir) as member:

        async def put(n: int) -> None:
            await member.store.txn(Txn((), (Put(b"%06d" % n, bytes(1000)),)))

        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
        before = 0
        refusals = 0
        while refusals < 3:
            try:
                await put(before)
                before += 1
            except NoSpace:
                refusals += 1
        read = (await member.store.range(Range(b"0", b"\0"))).count
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        for n in range(before, before + 10):
            await put(n)
        print(before, read, before + 10)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
