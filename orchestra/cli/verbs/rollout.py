"""rollout: status, history, undo, pause, resume, restart of deployments."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli.changes import Changes
from orchestra.cli.command import Command
from orchestra.cli.describe.containers import template as describe_template
from orchestra.cli.describe.writer import Writer
from orchestra.cli.finding import Found, find
from orchestra.cli.flags import DRY_RUN, FILENAME, OUTPUT, RECURSIVE, SELECTOR, Flag
from orchestra.cli.printing.output import output_of
from orchestra.cli.printing.tabs import align
from orchestra.cli.printing.words import object_name
from orchestra.cli.revisions import (
    CHANGE_CAUSE,
    RESTARTED_AT,
    REVISION,
    bare_template,
    owned_sets,
    revision_of,
    same_template,
    status_of,
)
from orchestra.cli.session import Session
from orchestra.cli.waiting import changes as changes_of
from orchestra.objects.codec import to_json
from orchestra.objects.kinds import DEPLOYMENT, REPLICA_SET, ApiObject, kind_of
from orchestra.objects.selectors import selector_from
from orchestra.pb import apps, core

# What a replica set carries for itself and undo must not bring back to the deployment.
_OWN_ANNOTATIONS = (
    REVISION,
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "kubectl.kubernetes.io/last-applied-configuration",
)


async def _deployments(session: Session, what: str) -> Found:
    if not session.words and not session.options.filename:
        raise UsageError("required resource not specified")
    found = await find(session, need_names=False)
    for obj in found.objects:
        if kind_of(obj) is not DEPLOYMENT:
            raise OrchestraError(f"{object_name(obj)}: {what} is for deployments")
    return found


async def _status(session: Session) -> int:
    found = await _deployments(session, "rollout status")
    found.raise_failures()
    if not found.objects:
        raise OrchestraError("no deployment found")
    try:
        async with asyncio.timeout(session.options.timeout or None):
            for obj in found.objects:
                await _follow(session, obj)
    except TimeoutError:
        raise OrchestraError("timed out waiting for the condition") from None
    return 0


async def _follow(session: Session, obj: apps.Deployment) -> None:
    """Says each step of the rollout until it is done."""
    said = ""
    async for now in changes_of(session.client, DEPLOYMENT, obj.metadata.namespace, obj.metadata.name):
        if now is None:
            raise OrchestraError(f'object has been deleted: deployments.apps "{obj.metadata.name}"')
        pinned, revision = session.options.revision, now.metadata.annotations.get(REVISION, "")
        if pinned and revision.isdecimal() and int(revision) != pinned:
            raise OrchestraError(
                f"desired revision ({pinned}) is different from the running revision ({revision})"
            )
        try:
            line, done = status_of(now)
        except ValueError as error:
            raise OrchestraError(str(error)) from None
        if line != said:
            session.say(line)
            said = line
        if done or not session.options.watch:
            return


async def _sets(session: Session, obj: apps.Deployment) -> list[apps.ReplicaSet]:
    answer = await session.client.list(
        REPLICA_SET, obj.metadata.namespace, labels=str(selector_from(obj.spec.selector))
    )
    return owned_sets(obj, answer.items)


def history_text(sets: list[apps.ReplicaSet]) -> str:
    """The table of revisions and their causes."""
    rows = ["REVISION\tCHANGE-CAUSE"]
    for found in sets:
        cause = found.metadata.annotations.get(CHANGE_CAUSE, "") or "<none>"
        rows.append(f"{revision_of(found)}\t{cause}")
    return align("\n".join(rows)) + "\n"


def template_text(found: core.PodTemplateSpec, cause: str, now_ns: int) -> str:
    """One revision's template, with why it was made."""
    writer = Writer(now_ns)
    shown = core.PodTemplateSpec()
    shown.CopyFrom(found)
    if cause:
        shown.metadata.annotations[CHANGE_CAUSE] = cause
    describe_template(writer, shown)
    return writer.text()


def _of_revision(obj: apps.Deployment, sets: list[apps.ReplicaSet], revision: int) -> apps.ReplicaSet:
    for found in sets:
        if revision_of(found) == revision:
            return found
    known = ", ".join(str(revision_of(s)) for s in sets) or "none"
    raise OrchestraError(
        f"unable to find specified revision {revision} in history of {obj.metadata.name} (it has: {known})"
    )


async def _history(session: Session) -> int:
    output = output_of(session.options.output)
    found = await _deployments(session, "rollout history")
    revision = session.options.revision
    if revision < 0:
        raise UsageError("revision must be a positive integer")
    for obj in found.objects:
        sets = await _sets(session, obj)
        if not output.tabular:
            chosen = [_of_revision(obj, sets, revision)] if revision else sets
            session.write(output.text(chosen, as_list=not revision))
            continue
        if not revision:
            session.write(f"{object_name(obj)} \n{history_text(sets)}\n")
            continue
        one = _of_revision(obj, sets, revision)
        cause = one.metadata.annotations.get(CHANGE_CAUSE, "")
        text = template_text(one.spec.template, cause, session.now_ns())
        session.write(f"{object_name(obj)} with revision #{revision}\n{text}\n")
    found.raise_failures()
    return 0


def _rollback_to(obj: apps.Deployment, sets: list[apps.ReplicaSet], revision: int) -> apps.ReplicaSet:
    """The replica set to go back to: the one asked for, or the one before the newest."""
    if revision:
        return _of_revision(obj, sets, revision)
    if len(sets) < 2:
        raise OrchestraError(f'no rollout history found for deployment "{obj.metadata.name}"')
    return sets[-2]


async def _undo(session: Session) -> int:
    if session.options.to_revision < 0:
        raise UsageError("revision must be a positive integer")
    changes = Changes(session)
    found = await _deployments(session, "rollout undo")
    for obj in found.objects:
        await _undo_one(session, changes, obj)
    changes.finish()
    found.raise_failures()
    return 0


async def _undo_one(session: Session, changes: Changes, obj: apps.Deployment) -> None:
    name = obj.metadata.name
    if obj.spec.paused:
        raise OrchestraError(
            f"you cannot rollback a paused deployment; resume it first with "
            f"'orchestra rollout resume deployment/{name}' and try again"
        )
    old = _rollback_to(obj, await _sets(session, obj), session.options.to_revision)
    template = bare_template(old.spec.template)
    if same_template(template, obj.spec.template):
        changes.tell(obj, f"skipped rollback (current template already matches revision {revision_of(old)})")
        return
    if changes.client_only:
        text = template_text(template, "", session.now_ns())
        session.write(f"{object_name(obj)} {text}")
        return
    kept = {k: v for k, v in obj.metadata.annotations.items() if k in _OWN_ANNOTATIONS}
    brought = {k: v for k, v in old.metadata.annotations.items() if k not in _OWN_ANNOTATIONS}
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": obj.metadata.uid},
        {"op": "replace", "path": "/spec/template", "value": to_json(template)},
        {"op": "add", "path": "/metadata/annotations", "value": {**kept, **brought}},
    ]
    answer = await session.client.patch(
        DEPLOYMENT, obj.metadata.namespace, name, patch, "json", dry_run=changes.server_only
    )
    changes.tell(answer, "rolled back")


def _patching(
    done: str, refusal: Callable[[ApiObject], str], patch: Callable[[Session], object]
) -> Callable[[Session], Awaitable[int]]:
    """pause, resume, restart: a check, then a patch of the deployment."""

    async def run(session: Session) -> int:
        changes = Changes(session)
        found = await _deployments(session, "rollout")
        failed = []
        for obj in found.objects:
            said = refusal(obj)
            if said:
                failed.append(f'error: {DEPLOYMENT.resource} "{obj.metadata.name}" {said}')
                continue
            answer = obj
            if not changes.client_only:
                answer = await session.client.patch(
                    DEPLOYMENT,
                    obj.metadata.namespace,
                    obj.metadata.name,
                    patch(session),  # type: ignore[arg-type]
                    dry_run=changes.server_only,
                )
            changes.tell(answer, done)
        changes.finish()
        session.warn_all(failed)
        found.raise_failures()
        return 1 if failed else 0

    return run


def _restart_patch(session: Session) -> object:
    now = datetime.fromtimestamp(session.now_ns() // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}}


_SOME = (FILENAME, RECURSIVE, SELECTOR)
_USAGE = "(TYPE NAME | TYPE/NAME) [options]"
_CHANGING = (*_SOME, DRY_RUN, OUTPUT)

COMMANDS = (
    Command(
        "rollout",
        "Manage the rollout of a deployment.",
        "SUBCOMMAND [options]",
        examples="""
        # See it through
        orchestra rollout status deploy/web
        # What ran before, and back to it
        orchestra rollout history deploy/web
        orchestra rollout undo deploy/web --to-revision=1
        """,
        commands=(
            Command(
                "rollout status",
                "Show how a rollout stands, until it is done.",
                _USAGE,
                (
                    *_SOME,
                    Flag("revision", "Fail if another revision than this is rolled out.", shape="int"),
                    Flag("timeout", "How long to watch; 0: as long as it takes.", shape="duration"),
                    Flag("watch", "Watch until it is done.", "w", shape="bool", default=True),
                ),
                "orchestra rollout status deploy/web --timeout=60s",
                _status,
            ),
            Command(
                "rollout history",
                "View the revisions of a deployment.",
                _USAGE,
                (*_SOME, OUTPUT, Flag("revision", "Show this revision's pod template.", shape="int")),
                "orchestra rollout history deploy/web --revision=2",
                _history,
            ),
            Command(
                "rollout undo",
                "Go back to an earlier revision.",
                _USAGE,
                (*_CHANGING, Flag("to-revision", "The revision; 0: the one before.", shape="int")),
                "orchestra rollout undo deploy/web\norchestra rollout undo deploy/web --to-revision=3",
                _undo,
            ),
            Command(
                "rollout pause",
                "Hold the rollout: changes are kept, and rolled out together at resume.",
                _USAGE,
                _CHANGING,
                "orchestra rollout pause deploy/web",
                _patching(
                    "paused",
                    lambda obj: "is already paused" if obj.spec.paused else "",
                    lambda _: {"spec": {"paused": True}},
                ),
            ),
            Command(
                "rollout resume",
                "Let a paused rollout go on.",
                _USAGE,
                _CHANGING,
                "orchestra rollout resume deploy/web",
                _patching(
                    "resumed",
                    lambda obj: "" if obj.spec.paused else "is not paused",
                    lambda _: {"spec": {"paused": None}},
                ),
            ),
            Command(
                "rollout restart",
                "Replace all pods by new ones of the same template.",
                _USAGE,
                _CHANGING,
                "orchestra rollout restart deploy/web",
                _patching(
                    "restarted",
                    lambda obj: (
                        "can't restart paused deployment (run rollout resume first)"
                        if obj.spec.paused
                        else ""
                    ),
                    _restart_patch,
                ),
            ),
        ),
    ),
)
