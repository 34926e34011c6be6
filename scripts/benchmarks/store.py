"""The store over the wire: the same client against ours, real etcd and a bare echo server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from statistics import median

import grpc.aio

from orchestra.aio.rpc.channel import open_channel
from orchestra.pb import etcd_rpc_pb2 as rpc
from orchestra.pb import etcd_rpc_pb2_grpc as rpc_grpc
from scripts.benchmarks import stores
from scripts.benchmarks.figures import Figure, percentile
from scripts.benchmarks.stores import Running

CLIENTS = 64
VALUE = b"x" * 256
# Many short turns: what else the machine does at the time then falls on all alike.
SECONDS = 1.0
ROUNDS = 9
TXN_PUTS = 100
RANGE_KEYS = 100
WATCHES = 1000
FANOUT_WRITES = 60
KILLS = 20
CALL_SECONDS = 10.0

Work = Callable[[int, int], Awaitable[object]]


async def _rate(work: Work, clients: int = CLIENTS, seconds: float = SECONDS) -> float:
    """Calls a second of so many clients, each one call after the other."""
    done = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def client(number: int) -> None:
        nonlocal done
        calls = 0
        while loop.time() < end:
            await work(number, calls)
            calls += 1
        done += calls

    began = loop.time()
    await asyncio.gather(*(client(number) for number in range(clients)))
    return done / (loop.time() - began)


@contextlib.asynccontextmanager
async def _kv(running: Running) -> AsyncIterator["rpc_grpc.KVAsyncStub"]:
    """The leader's KV service, on a channel of its own."""
    address = running.addresses[await running.leader()]
    async with open_channel(address) as channel:
        yield rpc_grpc.KVStub(channel)


def _put(call: "Callable[..., Awaitable[object]]") -> Work:
    """The same request and the same client for all. call: etcd's Put, or the echo."""

    async def put(client: int, number: int) -> None:
        await call(
            rpc.PutRequest(key=b"bench/%d/%d" % (client, number % 100), value=VALUE), timeout=CALL_SECONDS
        )

    return put


def _txn(kv: "rpc_grpc.KVAsyncStub") -> Work:
    async def txn(client: int, call: int) -> None:
        request = rpc.TxnRequest()
        for number in range(TXN_PUTS):
            put = request.success.add().request_put
            put.key = b"txn/%d/%d" % (client, number)
            put.value = VALUE
        await kv.Txn(request, timeout=CALL_SECONDS)

    return txn


def _range(kv: "rpc_grpc.KVAsyncStub") -> Work:
    async def read(client: int, call: int) -> None:
        request = rpc.RangeRequest(key=b"range/", range_end=b"range0", limit=RANGE_KEYS)
        await kv.Range(request, timeout=CALL_SECONDS)

    return read


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """Turn by turn, and of that the middle one."""
    return round(median(a / b for a, b in zip(ours, theirs, strict=True)), 3)


async def store_put_per_s() -> list[Figure]:
    """Single puts: one member, then three, each beside the echo server and as many of etcd, all in turns."""
    return [await _puts_per_s(members) for members in (1, 3)]


async def _puts_per_s(members: int) -> Figure:
    async with contextlib.AsyncExitStack() as stack:
        echo = await stack.enter_async_context(open_channel(await stack.enter_async_context(stores.echo())))
        call = echo.unary_unary(
            "/bench.Echo/Echo", rpc.PutRequest.SerializeToString, rpc.PutRequest.FromString
        )
        works = {"echo": _put(call)}
        ours = await stack.enter_async_context(stores.orchestra(members))
        works["ours"] = _put((await stack.enter_async_context(_kv(ours))).Put)
        if stores.has_etcd():
            real = await stack.enter_async_context(stores.etcd(members))
            works["etcd"] = _put((await stack.enter_async_context(_kv(real))).Put)
        rates: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(ROUNDS):
            for name, work in works.items():
                rates[name].append(await _rate(work))
    notes: dict[str, float | int | str] = {
        "members": members,
        "to_echo": _ratio(rates["ours"], rates["echo"]),
    }
    if "etcd" in rates:
        notes["etcd"] = round(median(rates["etcd"]))
        notes["to_etcd"] = _ratio(rates["ours"], rates["etcd"])
    value, anchor = median(rates["ours"]), median(rates["echo"])
    return Figure("store_put_per_s", value, "put/s", None, "grpc.aio echo", anchor, notes)


async def _beside_etcd(
    name: str, unit: str, make: Callable[["rpc_grpc.KVAsyncStub"], Work], each: int, clients: int
) -> list[Figure]:
    """One kind of call on one member, ours and etcd in turns. each: operations of a call."""
    rates: dict[str, list[float]] = {"ours": [], "etcd": []}
    async with contextlib.AsyncExitStack() as stack:
        running = {"ours": await stack.enter_async_context(stores.orchestra(1))}
        if stores.has_etcd():
            running["etcd"] = await stack.enter_async_context(stores.etcd(1))
        kvs = {key: await stack.enter_async_context(_kv(value)) for key, value in running.items()}
        for kv in kvs.values():
            for number in range(RANGE_KEYS):
                await kv.Put(rpc.PutRequest(key=b"range/%d" % number, value=VALUE), timeout=CALL_SECONDS)
        for _ in range(ROUNDS):
            for key, kv in kvs.items():
                rates[key].append(await _rate(make(kv), clients) * each)
    ours = median(rates["ours"])
    if not rates["etcd"]:
        return [Figure(name, ours, unit)]
    theirs = median(rates["etcd"])
    notes: dict[str, float | int | str] = {"to_etcd": _ratio(rates["ours"], rates["etcd"])}
    return [Figure(name, ours, unit, None, "etcd", theirs, notes)]


async def store_txn_ops_per_s() -> list[Figure]:
    """Transactions of TXN_PUTS puts. Units: puts a second."""
    return await _beside_etcd("store_txn_ops_per_s", "put/s", _txn, TXN_PUTS, 8)


async def store_range_per_s() -> list[Figure]:
    """Linearizable reads of RANGE_KEYS keys. Units: reads a second."""
    return await _beside_etcd("store_range_per_s", "range/s", _range, 1, CLIENTS)


async def watch_fanout_per_s() -> list[Figure]:
    """One writer, WATCHES watches of the key it writes. Units: events that arrived a second."""
    ours = await _fanout(stores.orchestra(1))
    if not stores.has_etcd():
        return [Figure("watch_fanout_per_s", ours, "event/s")]
    theirs = await _fanout(stores.etcd(1))
    notes: dict[str, float | int | str] = {"to_etcd": round(ours / theirs, 3)}
    return [Figure("watch_fanout_per_s", ours, "event/s", None, "etcd", theirs, notes)]


async def _fanout(store: "contextlib.AbstractAsyncContextManager[Running]") -> float:
    """Watches on a few streams, so that the client's own streams are not what is measured."""
    streams = 10
    async with store as running, open_channel(running.addresses[0]) as channel:
        kv: rpc_grpc.KVAsyncStub = rpc_grpc.KVStub(channel)
        watch: rpc_grpc.WatchAsyncStub = rpc_grpc.WatchStub(channel)
        calls = [watch.Watch() for _ in range(streams)]
        create = rpc.WatchRequest(create_request=rpc.WatchCreateRequest(key=b"fan"))
        for call in calls:
            for _ in range(WATCHES // streams):
                await call.write(create)
            for _ in range(WATCHES // streams):
                assert (await call.read()).created
        wanted = WATCHES * FANOUT_WRITES // streams

        async def reader(call: "grpc.aio.StreamStreamCall[rpc.WatchRequest, rpc.WatchResponse]") -> None:
            seen = 0
            while seen < wanted:
                seen += len((await call.read()).events)

        loop = asyncio.get_running_loop()
        began = loop.time()
        readers = [asyncio.ensure_future(reader(call)) for call in calls]
        for _ in range(FANOUT_WRITES):
            await kv.Put(rpc.PutRequest(key=b"fan", value=VALUE), timeout=CALL_SECONDS)
        async with asyncio.timeout(60):
            await asyncio.gather(*readers)
        taken = loop.time() - began
        for call in calls:
            call.cancel()
        return WATCHES * FANOUT_WRITES / taken


async def leader_failover_ms() -> list[Figure]:
    """The leader of three is killed, KILLS times: until a write is answered again, by whichever is left."""
    ours = await _failovers(stores.orchestra(3))
    notes: dict[str, float | int | str] = {"n": len(ours)}
    anchor: float | None = None
    if stores.has_etcd():
        theirs = await _failovers(stores.etcd(3), 5)
        anchor, notes["etcd_max"] = percentile(theirs, 0.5), round(max(theirs))
    p50, p99 = percentile(ours, 0.5), percentile(ours, 0.99)
    return [Figure("leader_failover_ms", p50, "ms", p99, "etcd" if anchor else "", anchor, notes)]


async def _failovers(
    store: "contextlib.AbstractAsyncContextManager[Running]", kills: int = KILLS
) -> list[float]:
    taken = []
    loop = asyncio.get_running_loop()
    async with store as running:
        for _ in range(kills):
            leader = await running.leader()
            running.processes[leader].kill()
            began = loop.time()
            left = [each for at, each in enumerate(running.addresses) if at != leader]
            await _first_write(left)
            taken.append((loop.time() - began) * 1000)
            running.processes[leader].wait(10)
            running.restart(leader)
            await _all_follow(running)
    return taken


async def _first_write(addresses: list[str]) -> None:
    """Returns when any of them has answered a write."""

    async def write(address: str) -> None:
        async with open_channel(address) as channel:
            kv: rpc_grpc.KVAsyncStub = rpc_grpc.KVStub(channel)
            while True:
                try:
                    await kv.Put(rpc.PutRequest(key=b"alive", value=VALUE), timeout=CALL_SECONDS)
                    return
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.005)

    tasks = [asyncio.ensure_future(write(address)) for address in addresses]
    done, rest = await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    if not done:
        raise TimeoutError("no write was answered")


async def _all_follow(running: Running) -> None:
    """Returns when every member answers and has what the others have."""
    async with asyncio.timeout(stores.START_SECONDS):
        while True:
            said = [await stores.status(address) for address in running.addresses]
            indices = [each.raftAppliedIndex for each in said if each is not None and each.leader]
            if len(indices) == len(said) and max(indices) - min(indices) < 10:
                return
            await asyncio.sleep(stores.POLL_SECONDS)
