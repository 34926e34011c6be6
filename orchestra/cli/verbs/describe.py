"""describe: an object, what belongs to it, and its events."""

import asyncio

from orchestra.base.errors import ApiError, NotFound, UsageError
from orchestra.cli.arguments import Selection, select
from orchestra.cli.command import Command
from orchestra.cli.describe.nodes import describe_namespace, describe_node
from orchestra.cli.describe.pods import describe_pod
from orchestra.cli.describe.services import describe_event, describe_service, describe_slice
from orchestra.cli.describe.workloads import describe_deployment, describe_replicas
from orchestra.cli.finding import Found, check_words, filenames, find, list_all, scope
from orchestra.cli.flags import ALL_NAMESPACES, FILENAME, RECURSIVE, SELECTOR, Flag
from orchestra.cli.revisions import newest_of, owned_sets
from orchestra.cli.session import Session
from orchestra.objects.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
    ApiObject,
    Kind,
    kind_of,
)
from orchestra.objects.selectors import selector_from, selector_from_map
from orchestra.pb import core


async def _events(session: Session, obj: ApiObject) -> list[core.Event] | None:
    """What happened to the object; for what has no namespace, events are in any."""
    if not session.options.show_events:
        return None
    metadata, kind = obj.metadata, kind_of(obj)
    fields = f"involvedObject.name={metadata.name},involvedObject.kind={kind.kind}"
    if kind.namespaced:
        fields += f",involvedObject.uid={metadata.uid}"
    try:
        return (await session.client.list(EVENT, metadata.namespace, fields=fields)).items
    except ApiError as error:
        session.warn(f"warning: events could not be read: {error}")
        return []


async def _text(session: Session, obj: ApiObject) -> str:
    kind = kind_of(obj)
    if kind is EVENT:
        return describe_event(obj, session.now_ns())
    events, belonging = await asyncio.gather(_events(session, obj), _belonging(session, kind, obj))
    now = session.now_ns()
    if kind is POD:
        return describe_pod(obj, events, now)
    if kind is NODE:
        pods = [pod for pod in belonging if pod.status.phase not in ("Succeeded", "Failed")]
        return describe_node(obj, pods, events, now)
    if kind is DEPLOYMENT:
        sets = owned_sets(obj, belonging)
        new = newest_of(obj, sets)
        old = [s for s in sets if s is not new and s.spec.replicas + s.status.replicas]
        return describe_deployment(obj, old, new, events, now)
    if kind in (REPLICA_SET, REPLICATION_CONTROLLER):
        uid = obj.metadata.uid
        own = [p for p in belonging if any(o.controller and o.uid == uid for o in p.metadata.ownerReferences)]
        return describe_replicas(obj, own, events, now)
    if kind is SERVICE:
        return describe_service(obj, belonging, events, now)
    if kind is ENDPOINT_SLICE:
        return describe_slice(obj, events, now)
    return describe_namespace(obj, events, now)


async def _belonging(session: Session, kind: Kind, obj: ApiObject) -> list[ApiObject]:
    """The objects that a description also tells of."""
    client, namespace = session.client, obj.metadata.namespace
    if kind is NODE:
        return (await client.list(POD, fields=f"spec.nodeName={obj.metadata.name}")).items
    if kind is DEPLOYMENT:
        labels = str(selector_from(obj.spec.selector))
        return (await client.list(REPLICA_SET, namespace, labels=labels)).items
    if kind is REPLICA_SET:
        return (await client.list(POD, namespace, labels=str(selector_from(obj.spec.selector)))).items
    if kind is REPLICATION_CONTROLLER:
        return (await client.list(POD, namespace, labels=str(selector_from_map(obj.spec.selector)))).items
    if kind is SERVICE:
        labels = f"kubernetes.io/service-name={obj.metadata.name}"
        return (await client.list(ENDPOINT_SLICE, namespace, labels=labels)).items
    return []


async def _by_prefix(session: Session, selection: Selection, found: Found) -> Found:
    """Names that are no object's may be the beginning of some objects' names."""
    whole = Found(found.objects)
    for failure in found.failures:
        matches: list[ApiObject] = []
        for kind, name in selection.targets:
            if failure.name == name and failure.kind in ("", kind.plural, kind.resource, kind.kind):
                answer = await session.client.list(kind, scope(kind, session.namespace))
                matches += [obj for obj in answer.items if obj.metadata.name.startswith(name)]
        if matches:
            whole.objects += matches
        else:
            whole.failures.append(failure)
    return whole


async def _describe(session: Session) -> int:
    selection = Selection() if filenames(session) else select(session.words)
    if not filenames(session) and not session.words:
        raise UsageError('you must specify the type of resource to describe: see "orchestra api-resources"')
    check_words(session, selection, need_names=False)
    if filenames(session) or selection.targets:
        found = await find(session, need_names=False)
        found = await _by_prefix(session, selection, found)
    else:
        found = await list_all(session, selection.kinds, session.namespace)
        if not found.objects:
            where = f" in {session.settings.namespace} namespace."
            named = session.namespace and any(kind.namespaced for kind in selection.kinds)
            session.warn("No resources found" + (where if named else ""))
    printed = False
    for obj in found.objects:
        try:
            text = await _text(session, obj)
        except NotFound:
            continue
        session.write(("\n\n" if printed else "") + text)
        printed = True
    found.raise_failures()
    return 0


COMMANDS = (
    Command(
        "describe",
        "Show details of a resource, of what belongs to it, and what happened to it.",
        "(TYPE [NAME_PREFIX] | TYPE/NAME | -f FILE) [options]",
        (
            ALL_NAMESPACES,
            FILENAME,
            RECURSIVE,
            SELECTOR,
            Flag("show-events", "Also show what happened.", shape="bool", default=True),
        ),
        """
        # One pod, one node
        orchestra describe pod web-5d4f8-x2x9p
        orchestra describe node/n1
        # All pods whose name begins with web
        orchestra describe po web
        """,
        _describe,
    ),
)
