"""scale: a new number of replicas."""

import asyncio

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli.changes import Changes
from orchestra.cli.command import Command
from orchestra.cli.finding import find
from orchestra.cli.flags import ALL, DRY_RUN, FILENAME, OUTPUT, RECURSIVE, SELECTOR, Flag
from orchestra.cli.printing.words import qualified
from orchestra.cli.session import Session
from orchestra.cli.waiting import until
from orchestra.objects.kinds import ApiObject, kind_of
from orchestra.pb import autoscaling


async def _scale(session: Session) -> int:
    options = session.options
    if "replicas" not in session.given:
        raise UsageError('required flag(s) "replicas" not set')
    if options.replicas < 0:
        raise UsageError(
            "the --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0"
        )
    changes = Changes(session)
    found = await find(session)
    if not found.objects and not found.failures:
        raise OrchestraError("no objects passed to scale")
    for obj in found.objects:
        await _one(session, changes, obj)
    changes.finish()
    found.raise_failures()
    return 0


async def _one(session: Session, changes: Changes, obj: ApiObject) -> None:
    options, kind, metadata = session.options, kind_of(obj), obj.metadata
    if not kind.scalable:
        raise OrchestraError(
            f"cannot scale {qualified(kind)}/{metadata.name}: only deployments, replicasets and "
            "replicationcontrollers have replicas"
        )
    if options.current_replicas >= 0 and options.current_replicas != obj.spec.replicas:
        raise OrchestraError(f"Expected replicas to be {options.current_replicas}, was {obj.spec.replicas}")
    if options.resource_version and options.resource_version != metadata.resourceVersion:
        raise OrchestraError(
            f"Expected resource version to be {options.resource_version}, was {metadata.resourceVersion}"
        )
    if not changes.client_only:
        scale = autoscaling.Scale()
        scale.metadata.name, scale.metadata.namespace = metadata.name, metadata.namespace
        if options.resource_version:
            scale.metadata.resourceVersion = options.resource_version
        scale.spec.replicas = options.replicas
        current = options.current_replicas if options.current_replicas >= 0 else None
        await session.client.update_scale(kind, scale, current_replicas=current, dry_run=changes.server_only)
    told = kind.new()
    told.CopyFrom(obj)
    told.spec.replicas = options.replicas
    changes.tell(told, "scaled")
    if options.timeout and not (changes.client_only or changes.server_only):
        await _wait(session, obj)


async def _wait(session: Session, obj: ApiObject) -> None:
    """Until the controller has made as many replicas as were asked for."""
    wanted = session.options.replicas

    def settled(found: ApiObject | None) -> bool:
        return found is None or (
            found.status.observedGeneration >= found.metadata.generation
            and found.spec.replicas == wanted == found.status.replicas
        )

    try:
        async with asyncio.timeout(session.options.timeout):
            await until(session.client, kind_of(obj), obj.metadata.namespace, obj.metadata.name, settled)
    except TimeoutError:
        raise OrchestraError("timed out waiting for the condition") from None


COMMANDS = (
    Command(
        "scale",
        "Set a new size for a deployment, a replica set or a replication controller.",
        "--replicas=COUNT (-f FILE | TYPE NAME | TYPE/NAME) [options]",
        (
            ALL,
            Flag(
                "current-replicas",
                "Only if it has so many now (-1: whatever it has).",
                shape="int",
                default=-1,
            ),
            DRY_RUN,
            FILENAME,
            OUTPUT,
            RECURSIVE,
            Flag("replicas", "How many are wanted.", shape="int"),
            Flag("resource-version", "Only if this is still its newest version."),
            SELECTOR,
            Flag("timeout", "Wait so long for the replicas to be there; 0: do not wait.", shape="duration"),
        ),
        """
        # Six of them
        orchestra scale deploy/web --replicas=6
        # From three to six, and not if somebody else was quicker
        orchestra scale --current-replicas=3 --replicas=6 deployment web
        """,
        _scale,
    ),
)
