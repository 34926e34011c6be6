"""`orchestra agent`: the composition root of an agent process.

Imports nothing that a small machine could do without.
"""

import asyncio
import os
from pathlib import Path

from orchestra.base import log as logging
from orchestra.base.errors import UsageError
from orchestra.cli.command import Command
from orchestra.cli.flags import Flag
from orchestra.cli.session import Session

# The wait before the second restart; each further one waits twice as long.
_RESTART_FIRST_MS = 10_000


def process(session: Session) -> int:
    """Runs an agent."""
    options = session.options
    if session.words:
        raise UsageError(f"agent takes no words, got {session.words[0]!r}")
    logging.configure(options.v + 1)
    from agents.agent import AgentSettings, run_agent
    from orchestra.aio.rpc.channel import check_address
    from orchestra.cli.processes import run_until_stopped

    restart_max_ms = int(options.max_container_restart_period * 1000)
    if restart_max_ms < 1:
        raise UsageError("--max-container-restart-period must be at least 1ms")
    name = options.name or os.uname().nodename.split(".")[0].lower()
    settings = AgentSettings(
        name=name,
        masters=tuple(check_address(address) for address in options.master if address),
        data_dir=Path(options.data_dir or f"./orchestra-agent-{name}").absolute(),
        address=options.address,
        capacity=_pairs("--capacity", options.capacity),
        labels=_pairs("--labels", options.labels),
        runtime=options.runtime,
        token=options.token,
        port_range=_port_range(options.port_range),
        stop_pods_on_exit=options.stop_pods,
        backoff_initial_ms=min(_RESTART_FIRST_MS, restart_max_ms),
        backoff_max_ms=restart_max_ms,
    )

    async def main(stop: asyncio.Event) -> int:
        await run_agent(settings, stop)
        return 0

    return run_until_stopped(main, with_parent=options.with_parent)


def _pairs(flag: str, words: list[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise UsageError(f'{flag} takes key=value pairs with commas between them, got "{word}"')
        pairs[key] = value
    return pairs


def _port_range(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    try:
        first, last = int(low), int(high)
    except ValueError:
        raise UsageError(f'--port-range takes FIRST-LAST, got "{text}"') from None
    if not 1024 <= first <= last <= 65535:
        raise UsageError(f"--port-range must lie between 1024 and 65535, got {text}")
    return first, last


COMMANDS = (
    Command(
        name="agent",
        summary="Run an agent: this machine becomes a node of the cluster and runs pods.",
        usage="[options]",
        flags=(
            Flag("name", "The node's name (default: the machine's host name)."),
            Flag(
                "master",
                "Where the masters listen (HOST:PORT, several with commas).",
                shape="list",
                default=["127.0.0.1:7070"],
            ),
            Flag("data-dir", "Where pods' logs and volumes are kept (default: ./orchestra-agent-NAME)."),
            Flag("address", "The node's address (default: the one that leads to the master)."),
            Flag(
                "capacity",
                "What the node says it has (cpu=4,memory=8Gi,pods=110; default: what the machine has).",
                shape="list",
            ),
            Flag("labels", "Labels of the node (k=v,...).", shape="list"),
            Flag("runtime", "How pods are isolated.", default="auto", choices=("auto", "host", "namespaces")),
            Flag("token", "What the agent shows the master to be let in."),
            Flag(
                "port-range",
                "Ports of the host for pods' declared ports (FIRST-LAST).",
                default="10000-19999",
            ),
            Flag(
                "max-container-restart-period",
                "The longest wait before a container that keeps ending is started again.",
                shape="duration",
                default=300.0,
            ),
            Flag("stop-pods", "Stop the pods when the agent is told to stop.", shape="bool"),
            Flag("with-parent", "End when standard input ends.", shape="bool"),
        ),
        examples="""
    # On a Raspberry Pi, say
    orchestra agent --name pi-kitchen --master 192.168.1.10:7070 --labels place=kitchen
    """,
        process=process,
    ),
)
