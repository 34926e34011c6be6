"""From a manifest's container to what the runtime is asked to start; from a refusal to a sentence."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agents import pod_words as words
from agents.environment import EnvironmentFailure, HostPort, NodeFacts, command_of, environment_of
from agents.ports import NoFreePort, PortReservations
from agents.runtime.contract import ContainerSpec, Exit, RuntimeFailure
from agents.settings import AgentSettings
from agents.volumes import PodDirectory, mounts_of, told_paths
from orchestra.pb import core

_PERMISSION_ERRNOS = {1: "is not permitted", 13: "is not executable"}
_ENOENT = 2
_ENOEXEC = 8


@dataclass(frozen=True, slots=True)
class Launching:
    """Where a container is started."""

    settings: AgentSettings
    node: NodeFacts
    isolation: str
    directory: PodDirectory


def base_environment() -> dict[str, str]:
    """What every container gets of the agent's own environment: what a program cannot do without."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    found.setdefault("PATH", os.defpath)
    return found


def reserve_ports(
    containers: Iterable[core.Container], reservations: PortReservations, address: str
) -> dict[str, list[HostPort]]:
    """A port of the host for each declared one: the one it asks for, or a free one.

    Raises: NoFreePort, OSError; nothing is reserved then.
    """
    reserved: list[int] = []

    def number(asked: int) -> int:
        if not asked:
            reserved.append(asked := reservations.reserve(address))
        return asked

    try:
        return {
            container.name: [
                HostPort(port.name, port.containerPort, number(port.hostPort), port.protocol or "TCP")
                for port in container.ports
            ]
            for container in containers
        }
    except (NoFreePort, OSError):
        for port in reserved:
            reservations.release(port)
        raise


def container_spec(
    pod: core.Pod, container: core.Container, name: str, at: Launching, ports: Sequence[HostPort]
) -> ContainerSpec:
    """What to start. name: the run's own. Raises: EnvironmentFailure, VolumeFailure, OSError."""
    mounted = at.isolation == "namespaces"
    plain = environment_of(pod, container, at.node, ports, {})
    mounts = mounts_of(pod, container, at.directory, plain)
    told = told_paths(container, mounts, mounted=mounted)
    environment = environment_of(pod, container, at.node, ports, told)
    argv = command_of(container, environment)
    if not argv:
        raise EnvironmentFailure(
            f"container {container.name} has no command, and this node runs no images: set command"
        )
    directory = container.workingDir or at.settings.working_directory
    run = int(name.rpartition("/")[2])
    return ContainerSpec(
        name,
        pod.metadata.uid,
        argv,
        environment,
        directory or str(at.directory.work(container.name)),
        str(at.directory.log(container.name, run)),
        tuple(mounts) if mounted else (),
        str(at.directory.scratch),
        at.settings.log_bytes_max,
        at.settings.log_files_max,
    )


def start_message(error: RuntimeFailure, container: core.Container) -> str:
    """What could not be run and why, for a person."""
    if error.stage != "exec":
        return f"{error.stage}: {error}" if error.stage else str(error)
    program = next(iter((*container.command, *container.args)), "")
    if error.errno == _ENOENT:
        where = "no such file" if "/" in program else "executable file not found in $PATH"
        return f'exec: "{program}": {where}'
    if error.errno in _PERMISSION_ERRNOS:
        return f'exec: "{program}" {_PERMISSION_ERRNOS[error.errno]}'
    if error.errno == _ENOEXEC:
        return f'exec: "{program}": not a program this machine can run (wrong architecture, or no #! line)'
    return f'exec: "{program}": {error}'


def exit_event(found: Exit) -> words.Exited:
    """The runtime's word for the machine."""
    _, container, run = found.container.split("/")
    return words.Exited(container, int(run), found.code, found.signal, found.exited_ns)
