"""Objects made from flags: what `run` and `create` send. Pure."""

import re
from collections.abc import Mapping, Sequence

from orchestra.base.errors import UsageError
from orchestra.pb import apps, core

_ENVIRONMENT_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


def key_values(text: str, what: str) -> dict[str, str]:
    """`a=b,c=d` as a map.

    Raises: UsageError for a part that is no `key=value`.
    """
    found = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise UsageError(f"invalid {what} {part}: expected key=value")
        found[key] = value
    return found


def environment(pairs: Sequence[str]) -> list[core.EnvVar]:
    """--env values as variables.

    Raises: UsageError for a part that is no `NAME=value`.
    """
    variables = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not _ENVIRONMENT_NAME.fullmatch(name):
            raise UsageError(f"invalid env: {pair}: expected NAME=value")
        variables.append(core.EnvVar(name=name, value=value))
    return variables


def port_number(text: str) -> int:
    """A port, checked.

    Raises: UsageError.
    """
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UsageError(f'invalid port "{text}": must be between 1 and 65535')
    return int(text)


def container(
    name: str,
    *,
    image: str = "",
    command: Sequence[str] = (),
    args: Sequence[str] = (),
    env: Sequence[core.EnvVar] = (),
    port: int = 0,
) -> core.Container:
    """One container; without an image it runs its command from the node's own files."""
    made = core.Container(name=name, command=command, args=args, env=env)
    if image:
        made.image = image
    if port:
        made.ports.add(containerPort=port)
    return made


def image_name(image: str) -> str:
    """The container's name that an image suggests: `registry/a/nginx:1.2` is nginx."""
    last = image.rsplit("/", 1)[-1].split("@", 1)[0].split(":", 1)[0].lower()
    return re.sub(r"[^a-z0-9-]+", "-", last).strip("-")[:63]


def pod(
    name: str, namespace: str, only: core.Container, labels: Mapping[str, str], restart_policy: str
) -> core.Pod:
    """What `run` makes."""
    made = core.Pod()
    made.metadata.name, made.metadata.namespace = name, namespace
    made.metadata.labels.update(labels or {"run": name})
    made.spec.containers.append(only)
    if restart_policy:
        made.spec.restartPolicy = restart_policy
    return made


def deployment(
    name: str, namespace: str, containers: Sequence[core.Container], replicas: int
) -> apps.Deployment:
    """What `create deployment` makes."""
    made = apps.Deployment()
    made.metadata.name, made.metadata.namespace = name, namespace
    labels = {"app": name}
    made.metadata.labels.update(labels)
    made.spec.replicas = replicas
    made.spec.selector.matchLabels.update(labels)
    made.spec.template.metadata.labels.update(labels)
    made.spec.template.spec.containers.extend(containers)
    return made
