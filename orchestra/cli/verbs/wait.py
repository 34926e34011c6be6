"""wait: until a resource has a condition, a value, or is gone."""

import asyncio
from collections.abc import Callable

from orchestra.base.errors import NotFound, UsageError
from orchestra.cli.arguments import select
from orchestra.cli.command import Command
from orchestra.cli.errors import Reported, sentences
from orchestra.cli.finding import Found, find, scope
from orchestra.cli.flags import ALL, ALL_NAMESPACES, FIELD_SELECTOR, FILENAME, RECURSIVE, SELECTOR, Flag
from orchestra.cli.printing.jsonpath import find as find_path
from orchestra.cli.printing.jsonpath import relaxed, show
from orchestra.cli.printing.structured import manifest
from orchestra.cli.printing.words import object_name, typed_name
from orchestra.cli.session import Session
from orchestra.cli.waiting import gone, until
from orchestra.objects.kinds import ApiObject, Kind, kind_of

_WEEK_SECONDS = 7 * 24 * 3600.0


def holds_of(text: str) -> Callable[[ApiObject], bool]:
    """What --for asks of an object: `condition=Ready[=False]` or `jsonpath={.a}[=b]`.

    Raises: UsageError.
    """
    what, _, rest = text.partition("=")
    if what == "condition" and rest:
        name, _, value = rest.partition("=")
        wanted = (value or "true").casefold()

        def conditioned(obj: ApiObject) -> bool:
            found = getattr(getattr(obj, "status", None), "conditions", ())
            if not _observed(obj):
                return False
            return any(c.type.casefold() == name.casefold() and c.status.casefold() == wanted for c in found)

        return conditioned
    if what == "jsonpath" and rest:
        end = rest.rfind("}")
        if not rest.startswith("{") or end < 0 or rest[end + 1 : end + 2] not in ("", "="):
            raise UsageError("jsonpath wait format must be --for=jsonpath='{.status.readyReplicas}'=3")
        steps, wanted = relaxed(rest[: end + 1]), rest[end + 2 :]

        def valued(obj: ApiObject) -> bool:
            found = [show(value) for value in find_path(steps, manifest(obj))]
            return wanted in found if rest[end + 1 :] else any(found)

        return valued
    raise UsageError(
        f'unrecognized condition: "{text}" (create, delete, condition=NAME, jsonpath={{PATH}}=VALUE)'
    )


def _observed(obj: ApiObject) -> bool:
    """False while the status is about an older spec than the object has now."""
    status = getattr(obj, "status", None)
    if status is None or not any(f.name == "observedGeneration" for f in status.DESCRIPTOR.fields):
        return True
    if not status.HasField("observedGeneration"):
        return True
    return bool(status.observedGeneration >= obj.metadata.generation)


async def _until(session: Session, kind: Kind, namespace: str, name: str, wanted: str) -> str:
    """Waits for one; the line that says so."""
    if wanted == "create":
        obj = await until(session.client, kind, scope(kind, namespace), name, lambda found: found is not None)
        return f"{object_name(obj)} condition met"
    holds = holds_of(wanted)
    await until(
        session.client, kind, scope(kind, namespace), name, lambda found: found is not None and holds(found)
    )
    return f"{typed_name(kind, name)} condition met"


async def _gone(session: Session, obj: ApiObject) -> str:
    await gone(session.client, obj)
    return f"{object_name(obj)} condition met"


async def _wait(session: Session) -> int:
    wanted = session.options.__dict__["for"]
    if not wanted:
        raise UsageError("--for is required: create, delete, condition=NAME, jsonpath={PATH}=VALUE")
    if wanted not in ("create", "delete"):
        holds_of(wanted)
    seconds = session.options.timeout
    deadline = _WEEK_SECONDS if seconds < 0 else max(seconds, 0.001 if seconds else 5.0)
    found, missing = await _find(session, wanted)
    waits = (
        [_gone(session, obj) for obj in found.objects]
        if wanted == "delete"
        else [
            _until(session, kind_of(o), o.metadata.namespace, o.metadata.name, wanted) for o in found.objects
        ]
    )
    waits += [_until(session, kind, session.namespace, name, wanted) for kind, name in missing]
    names = [object_name(o) for o in found.objects] + [typed_name(k, n) for k, n in missing]
    if not waits:
        if wanted == "delete":
            return 0
        raise Reported(["error: no matching resources found"])

    async def one(wait: object) -> None:
        async with asyncio.timeout(deadline):
            session.say(await wait)  # type: ignore[misc]

    answers = await asyncio.gather(*map(one, waits), return_exceptions=True)
    lines = []
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, TimeoutError):
            kind, _, plain = name.partition("/")
            plural = f"{kind.replace('.', 's.', 1)}" if "." in kind else f"{kind}s"
            lines.append(f"error: timed out waiting for the condition on {plural}/{plain}")
        elif isinstance(answer, Exception):
            lines += sentences(answer)
        elif answer is not None:
            raise answer
    if lines:
        raise Reported(lines)
    return 0


async def _find(session: Session, wanted: str) -> tuple[Found, list[tuple[Kind, str]]]:
    """The objects, and for --for=create the names that are no object's yet."""
    if wanted == "create" and session.words:
        selection = select(session.words)
        if selection.targets:
            return Found(), list(selection.targets)
    found = await find(session)
    if wanted == "delete":
        found.failures = [failure for failure in found.failures if not isinstance(failure, NotFound)]
    found.raise_failures()
    return found, []


COMMANDS = (
    Command(
        "wait",
        "Wait until resources have a condition, have a value, exist, or are gone.",
        "(-f FILE | TYPE NAME | TYPE/NAME | TYPE (-l label | --all)) --for=CONDITION [options]",
        (
            ALL,
            ALL_NAMESPACES,
            FIELD_SELECTOR,
            FILENAME,
            Flag("for", "create, delete, condition=NAME[=VALUE], or jsonpath={PATH}[=VALUE]."),
            RECURSIVE,
            SELECTOR,
            Flag("timeout", "How long to wait; negative: a week.", shape="duration", default=30.0),
        ),
        """
        orchestra wait pod/web-1 --for=condition=Ready --timeout=60s
        orchestra wait deploy/web --for=jsonpath='{.status.readyReplicas}'=3
        orchestra wait pod -l app=web --for=delete
        """,
        _wait,
    ),
)
