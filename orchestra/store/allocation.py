"""Node ports: each held by one key, claimed and released in the transaction that writes its Service.

The key `/registry/ranges/nodeports/<port>` exists while a Service has the port; its value names the Service.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from orchestra.base.errors import Invalid, TooManyRequests, Violation, invalid
from orchestra.mvcc.keyindex import prefix_end
from orchestra.mvcc.model import Compare, DeleteRange, KeyValue, Op, Put, Range, Result, Target
from orchestra.pb import core
from orchestra.store.access import Access

NODE_PORT_FIRST = 30_000
NODE_PORT_LAST = 32_767
# Ports below are left to those who choose one themselves. Source: Kubernetes KEP-3668.
DYNAMIC_FIRST = 30_086

PREFIX = b"/registry/ranges/nodeports/"
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


def port_key(port: int) -> bytes:
    """The key that holds a node port."""
    return PREFIX + b"%d" % port


@dataclass(frozen=True, slots=True)
class PortChange:
    """What a write of a Service needs and does beside the Service itself.

    claimed: (port, index in spec.ports, whether the Service's author chose it), in the order of `look`.
    """

    compare: Sequence[Compare] = ()
    ops: Sequence[Op] = ()
    look: Sequence[bytes] = ()
    claimed: Sequence[tuple[int, int, bool]] = ()


NO_CHANGE = PortChange()


def ports_of(service: core.Service | None) -> set[int]:
    """The node ports that a Service holds."""
    if service is None or service.spec.type not in _WITH_NODE_PORTS:
        return set()
    return {port.nodePort for port in service.spec.ports if port.nodePort}


def release(service: core.Service) -> list[Op]:
    """Gives all ports of a Service back."""
    return [DeleteRange(port_key(port)) for port in sorted(ports_of(service))]


class NodePorts:
    """Chooses and claims node ports."""

    def __init__(self, access: Access, rng: random.Random) -> None:
        self._access = access
        self._rng = rng

    async def plan(self, new: core.Service, old: core.Service | None) -> PortChange:
        """Gives `new` (a private copy) the ports it lacks and says what to claim and release.

        Raises: Invalid for a port outside the range; TooManyRequests when all are taken.
        """
        held, claimed = ports_of(old), self._chosen(new, ports_of(old))
        lacking = self._lacking(new)
        if lacking:
            taken = await self._taken() | held | {port for port, _, _ in claimed}
            free = [port for port in range(DYNAMIC_FIRST, NODE_PORT_LAST + 1) if port not in taken]
            free = free if len(free) >= len(lacking) else self._all_free(taken)
            if len(free) < len(lacking):
                raise TooManyRequests(
                    f"no node port of {NODE_PORT_FIRST}-{NODE_PORT_LAST} is free: delete a Service of type "
                    "NodePort first"
                )
            for index, port in zip(lacking, self._rng.sample(free, len(lacking)), strict=True):
                new.spec.ports[index].nodePort = port
                claimed.append((port, index, False))
        owner = f"{new.metadata.namespace}/{new.metadata.name}".encode()
        keys = [port_key(port) for port, _, _ in claimed]
        return PortChange(
            compare=[Compare(key, Target.VERSION, Result.EQUAL, 0) for key in keys],
            ops=[
                *(Put(key, owner) for key in keys),
                *(DeleteRange(port_key(port)) for port in sorted(held - ports_of(new))),
            ],
            look=keys,
            claimed=claimed,
        )

    def _chosen(self, new: core.Service, held: set[int]) -> list[tuple[int, int, bool]]:
        """The ports named in the Service that are not yet its own; a TCP and a UDP port may share one."""
        chosen: dict[int, tuple[int, int, bool]] = {}
        if new.spec.type not in _WITH_NODE_PORTS:
            return []
        for index, port in enumerate(new.spec.ports):
            number = port.nodePort
            if not number or number in held:
                continue
            if not NODE_PORT_FIRST <= number <= NODE_PORT_LAST:
                raise _refused(
                    new,
                    index,
                    number,
                    f"provided port is not in the valid range. The range of valid ports is "
                    f"{NODE_PORT_FIRST}-{NODE_PORT_LAST}",
                )
            chosen.setdefault(number, (number, index, True))
        return list(chosen.values())

    @staticmethod
    def _lacking(new: core.Service) -> list[int]:
        spec = new.spec
        if spec.type not in _WITH_NODE_PORTS:
            return []
        if (
            spec.type == "LoadBalancer"
            and spec.HasField("allocateLoadBalancerNodePorts")
            and not spec.allocateLoadBalancerNodePorts
        ):
            return []
        return [index for index, port in enumerate(spec.ports) if not port.nodePort]

    @staticmethod
    def _all_free(taken: set[int]) -> list[int]:
        return [port for port in range(NODE_PORT_FIRST, NODE_PORT_LAST + 1) if port not in taken]

    async def _taken(self) -> set[int]:
        found = await self._access.range(Range(PREFIX, prefix_end(PREFIX), keys_only=True))
        return {int(kv.key[len(PREFIX) :]) for kv in found.kvs}

    @staticmethod
    def check(new: core.Service, change: PortChange, seen: Sequence[KeyValue | None]) -> bool:
        """After a refused write: whether a claimed port was taken. One that was only allocated is a retry.

        Raises: Invalid when the Service's author chose a port that another Service has.
        """
        lost = False
        for (port, index, explicit), kv in zip(change.claimed, seen, strict=True):
            if kv is None:
                continue
            lost = True
            if explicit:
                owner = kv.value.decode(errors="replace")
                raise _refused(new, index, port, f"provided port is already allocated (by service {owner})")
            new.spec.ports[index].ClearField("nodePort")
        return lost


def _refused(service: core.Service, index: int, port: int, why: str) -> Invalid:
    violation = Violation(f"spec.ports[{index}].nodePort", f"Invalid value: {port}: {why}")
    return invalid("Service", service.metadata.name, [violation])
