"""Measures the figures this project is held to: `./scripts/bench [NAME...] [--json]`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uvloop

import orchestra.aio.rpc  # noqa: F401 - sets what gRPC reads when it is first imported
from orchestra.base import log as logging
from scripts.benchmarks import idle, placement, pods, rolling, store
from scripts.benchmarks.figures import Figure

Benchmark = Callable[[], Awaitable[list[Figure]]]

# What is printed, and the run that measures it; one run may print several.
BENCHMARKS: dict[str, Benchmark] = {
    "pod_start_ms": pods.pod_start_ms,
    "agent_failover_ms": pods.agent_failover_ms,
    "agent_idle_mb": idle.agent_idle,
    "agent_idle_cpu_pct": idle.agent_idle,
    "master_idle_mb": idle.master_idle_mb,
    "idle_disk_bytes_min": idle.idle_disk_bytes_min,
    "pods_per_s": pods.pods_per_s,
    "schedule_per_s": placement.schedule_per_s,
    "rolling_failed_requests": rolling.rolling_failed_requests,
    "store_put_per_s": store.store_put_per_s,
    "store_txn_ops_per_s": store.store_txn_ops_per_s,
    "store_range_per_s": store.store_range_per_s,
    "watch_fanout_per_s": store.watch_fanout_per_s,
    "leader_failover_ms": store.leader_failover_ms,
}


def main(arguments: list[str]) -> int:
    """Runs the benchmarks named, or all."""
    as_json = "--json" in arguments
    names = [word for word in arguments if word != "--json"] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(
            f"error: no benchmark named {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}",
            file=sys.stderr,
        )
        return 2
    logging.configure(0)
    failed = 0
    for run in dict.fromkeys(BENCHMARKS[name] for name in names):
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                figures = runner.run(_measure(run))
        except Exception as error:  # noqa: BLE001 - what one cannot measure the others still can
            said = str(error) or "it took too long"
            print(f"error: {run.__name__} came to nothing: {type(error).__name__}: {said}", file=sys.stderr)
            failed = 1
            continue
        for figure in figures:
            print(figure.as_json() if as_json else figure.as_text(), flush=True)
    return failed


async def _measure(run: Benchmark) -> list[Figure]:
    return await run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
