"""Addresses and ports of a cluster on this machine: loopback addresses that no other cluster uses."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from orchestra.base.errors import OrchestraError

DEFAULT_PORT = 7070
BLOCKS = 200
# Masters' addresses in a block begin after it, agents' after ten.
AGENTS_FROM = 10
MASTERS_MAX = 7
# No port that a kernel hands out: a master that was killed finds its own again.
PEER_PORT = 7071
ETCD_PORT = 2379
# In a data directory: how many masters there are, and the block by which they know each other.
_KEPT = "masters.json"


@dataclass(frozen=True, slots=True)
class Block:
    """Loopback addresses 127.77.<number>.0/24 that this cluster has for itself while `lock` is open."""

    number: int
    lock: socket.socket

    def address(self, agent: int) -> str:
        """The address of agent 1, 2, …"""
        return f"127.77.{self.number}.{AGENTS_FROM + agent}"

    def master_address(self, master: int) -> str:
        """The address at which master 1, 2, … talks to the others, and serves etcd's API."""
        return f"127.77.{self.number}.{master}"


def reserve_block(wanted: int | None = None) -> Block:
    """A block of addresses no other cluster on this machine uses; `wanted` and no other, if that is given.

    Raises: OrchestraError when all are taken.
    """
    for number in range(BLOCKS) if wanted is None else (wanted,):
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # An abstract name: the kernel forgets it with the process, however that ends.
            lock.bind(f"\0orchestra-block-{number}")
        except OSError:
            lock.close()
            continue
        return Block(number, lock)
    if wanted is not None:
        raise OrchestraError(
            f"another cluster on this machine uses the addresses 127.77.{wanted}.0/24, by which the masters "
            "of this one know each other: stop it first"
        )
    raise OrchestraError(f"{BLOCKS} clusters run on this machine already: stop one with Ctrl-C")


def is_free(port: int) -> bool:
    """Whether nothing listens on that port of 127.0.0.1."""
    return free_port(port) == port


def free_port(preferred: int = 0) -> int:
    """`preferred` if nothing listens there, else one the kernel picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise OrchestraError("no port is free on 127.0.0.1")


def reserve_for_masters(data_dir: Path, masters: int) -> Block:
    """Addresses for a cluster: the ones that the masters in its data directory know each other by.

    Raises: OrchestraError when the directory holds another number of masters.
    """
    kept = data_dir / _KEPT
    try:
        said = json.loads(kept.read_text())
        count, number = int(said["masters"]), int(said["block"])
    except FileNotFoundError:
        count, number = int((data_dir / "m1" / "identity.json").exists()), None
    except (ValueError, KeyError, TypeError) as error:
        raise OrchestraError(
            f"{kept}: cannot be read ({error}); put it back, or take another directory"
        ) from error
    if count and count != masters:
        raise OrchestraError(
            f"{data_dir}: holds a cluster of {count} master{'s' * (count > 1)}: give --masters={count}, "
            "or another directory"
        )
    if masters == 1:
        return reserve_block()
    block = reserve_block(number)
    if number is None:
        kept.write_text(json.dumps({"masters": masters, "block": block.number}) + "\n")
    return block


def api_addresses(block: Block, masters: int, port: int, *, exact: bool) -> dict[str, str]:
    """Where the API of m1, m2, … listens: on 127.0.0.1 from `port` on, else where it is free.

    Raises: OrchestraError when a port is taken and `exact`.
    """
    names = [f"m{number}" for number in range(1, masters + 1)]
    wanted = dict(zip(names, range(port, port + masters), strict=True))
    taken = [each for each in wanted.values() if not is_free(each)] if port else []
    if taken and exact:
        raise OrchestraError(f"port {taken[0]} on 127.0.0.1 is taken: give another, or none")
    if masters == 1:
        return {"m1": f"127.0.0.1:{free_port(port)}"}
    if port and not taken:
        return {name: f"127.0.0.1:{each}" for name, each in wanted.items()}
    # Addresses that nobody else has, where no port can be taken.
    return {name: f"{block.master_address(at)}:{DEFAULT_PORT}" for at, name in enumerate(names, 1)}
