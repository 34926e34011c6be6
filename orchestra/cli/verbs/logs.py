"""logs: what containers print."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from orchestra.base.errors import ApiError, OrchestraError, UsageError
from orchestra.cli.arguments import select
from orchestra.cli.command import Command
from orchestra.cli.errors import Reported, sentences
from orchestra.cli.flags import SELECTOR, Flag
from orchestra.cli.session import Session
from orchestra.objects.kinds import POD, REPLICATION_CONTROLLER, SERVICE, ApiObject
from orchestra.objects.selectors import selector_from, selector_from_map
from orchestra.objects.times import parse_time
from orchestra.pb import core, meta

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_TAIL_WITH_SELECTOR = 10


@dataclass(frozen=True, slots=True)
class _Source:
    pod: core.Pod
    container: str

    def prefix(self) -> bytes:
        return f"[pod/{self.pod.metadata.name}/{self.container}] ".encode()


@dataclass(frozen=True, slots=True)
class _Wanted:
    tail: int | None
    since_seconds: int | None
    since_time: meta.Time | None


def _wanted(session: Session) -> _Wanted:
    options = session.options
    if "since" in session.given and options.since_time:
        raise UsageError("at most one of --since-time and --since may be specified")
    tail = options.tail if options.tail >= 0 else None
    if "tail" not in session.given and (options.selector or options.all_pods):
        tail = _TAIL_WITH_SELECTOR
    if "tail" in session.given and options.tail < -1:
        raise UsageError("--tail must be greater than or equal to -1")
    try:
        moment = parse_time(options.since_time) if options.since_time else None
    except ValueError as error:
        raise UsageError(f"--since-time: {error}") from None
    seconds = None
    if "since" in session.given:
        # A part of a second is rounded up: rather a line too many than one too few.
        seconds = -(-int(options.since * 1000) // 1000)
        if seconds <= 0:
            raise UsageError("--since must be greater than 0")
    return _Wanted(tail, seconds, moment)


async def _selected_pods(session: Session, obj: ApiObject) -> list[core.Pod]:
    """The pods that a workload or a service selects, ready ones first."""
    if not hasattr(obj.spec, "selector"):
        raise OrchestraError(f"cannot get the logs from {type(obj).__name__}: it selects no pods")
    plain = isinstance(obj, REPLICATION_CONTROLLER.message | SERVICE.message)
    selector = selector_from_map(obj.spec.selector) if plain else selector_from(obj.spec.selector)
    if not str(selector):
        raise OrchestraError(f'"{obj.metadata.name}" selects no pods')
    answer = await session.client.list(POD, obj.metadata.namespace, labels=str(selector))
    return sorted(answer.items, key=_readiness)


def _readiness(pod: core.Pod) -> tuple[bool, bool, str]:
    ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
    return not ready, pod.status.phase != "Running", pod.metadata.name


async def _pods(session: Session) -> tuple[list[core.Pod], list[str]]:
    """The pods, and a word that may name a container."""
    options, words = session.options, session.words
    if options.selector:
        if words:
            raise UsageError("only a selector (-l) or a POD name is allowed")
        answer = await session.client.list(POD, session.namespace, labels=options.selector)
        if not answer.items:
            session.warn(f"No resources found in {session.settings.namespace} namespace.")
        return list(answer.items), []
    if not words or len(words) > 2:
        raise UsageError("expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'")
    word = words[0] if "/" in words[0] else f"pod/{words[0]}"
    kind, name = select([word]).targets[0]
    obj = await session.client.get(kind, session.namespace if kind.namespaced else "", name)
    if kind is POD:
        return [obj], words[1:]
    pods = await _selected_pods(session, obj)
    if not pods:
        raise OrchestraError(f"no pods found for {words[0]}")
    if len(pods) > 1 and not options.all_pods:
        session.warn(f"Found {len(pods)} pods, using pod/{pods[0].metadata.name}")
        pods = pods[:1]
    return pods, words[1:]


def _containers(session: Session, pod: core.Pod, named: str) -> list[str]:
    regular = [container.name for container in pod.spec.containers]
    init = [container.name for container in pod.spec.initContainers]
    if session.options.all_containers:
        return init + regular
    if named:
        if named not in regular + init:
            raise OrchestraError(f"container {named} is not valid for pod {pod.metadata.name} "
                                 f"(it has: {', '.join(regular + init)})")  # fmt: skip
        return [named]
    default = pod.metadata.annotations.get(_DEFAULT_CONTAINER, "")
    if default in regular:
        return [default]
    if len(regular) + len(init) > 1:
        listed = ", ".join(regular + [f"{name} (init)" for name in init])
        session.warn(f'Defaulted container "{regular[0]}" out of: {listed}')
    return regular[:1]


class _Sink:
    """Standard output, as bytes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._buffer = getattr(session.out, "buffer", None)

    def write(self, data: bytes) -> None:
        if self._buffer is not None:
            self._session.out.flush()
            self._buffer.write(data)
            self._buffer.flush()
        else:
            self._session.write(data.decode("utf-8", "replace"))


async def _stream(session: Session, sink: _Sink, source: _Source, wanted: _Wanted, prefixed: bool) -> None:
    options = session.options
    rest = b""
    stream = session.client.logs(
        source.pod.metadata.namespace,
        source.pod.metadata.name,
        source.container,
        follow=options.follow,
        previous=options.previous,
        tail_lines=wanted.tail,
        since_seconds=wanted.since_seconds,
        since_time=wanted.since_time,
        timestamps=options.timestamps,
        limit_bytes=options.limit_bytes or None,
    )
    async for data in stream:
        if not prefixed:
            sink.write(data)
            continue
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            sink.write(b"".join(source.prefix() + line + b"\n" for line in lines))
    if rest:
        sink.write(source.prefix() + rest + b"\n")


async def _logs(session: Session) -> int:
    options = session.options
    wanted = _wanted(session)
    pods, more = await _pods(session)
    if more and options.container:
        raise UsageError("only one of -c or an inline [CONTAINER] arg is allowed")
    if options.container and options.all_containers:
        raise UsageError("--all-containers=true should not be specified with container name")
    named = options.container or next(iter(more), "")
    sources = [_Source(pod, name) for pod in pods for name in _containers(session, pod, named)]
    if options.follow and len(sources) > options.max_log_requests:
        raise OrchestraError(
            f"you are attempting to follow {len(sources)} log streams, but maximum allowed concurrency is "
            f"{options.max_log_requests}, use --max-log-requests to increase the limit"
        )
    prefixed = options.prefix or options.all_pods
    sink = _Sink(session)
    if options.follow and len(sources) > 1:
        return await _follow_all(session, sink, sources, wanted, prefixed)
    failed = 0
    for source in sources:
        try:
            await _stream(session, sink, source, wanted, prefixed)
        except ApiError as error:
            if len(sources) == 1 and not options.ignore_errors:
                raise
            session.warn_all(sentences(error))
            failed += not options.ignore_errors
    return 1 if failed else 0


async def _follow_all(
    session: Session, sink: _Sink, sources: Sequence[_Source], wanted: _Wanted, prefixed: bool
) -> int:
    answers = await asyncio.gather(
        *(_stream(session, sink, source, wanted, prefixed) for source in sources), return_exceptions=True
    )
    lines: list[str] = []
    for answer in answers:
        if isinstance(answer, ApiError):
            lines += sentences(answer)
        elif isinstance(answer, BaseException):
            raise answer
    if lines and not session.options.ignore_errors:
        raise Reported(lines)
    return 0


COMMANDS = (
    Command(
        "logs",
        "Print what a container writes to its standard output and standard error.",
        "[-f] [-p] (POD | TYPE/NAME | -l label) [-c CONTAINER] [options]",
        (
            Flag("all-containers", "All containers of the pod.", shape="bool"),
            Flag("all-pods", "All pods of the workload, each line with its source.", shape="bool"),
            Flag("container", "Which container.", "c"),
            Flag("follow", "Go on with what is written from now on.", "f", shape="bool"),
            Flag("ignore-errors", "Go on when one source fails.", shape="bool"),
            Flag("limit-bytes", "At most so many bytes.", shape="int"),
            Flag("max-log-requests", "How many sources may be followed at once.", shape="int", default=5),
            Flag("prefix", "Put the source before each line.", shape="bool"),
            Flag("previous", "The run of the container before this one.", "p", shape="bool"),
            SELECTOR,
            Flag("since", "Only what is newer than a duration (5s, 2m, 3h).", shape="duration"),
            Flag("since-time", "Only what is newer than a time (RFC 3339)."),
            Flag("tail", "Only so many of the last lines (-1: all; with -l: 10).", shape="int", default=-1),
            Flag("timestamps", "Put the time before each line.", shape="bool"),
        ),
        """
        # A pod's, and on
        orchestra logs -f web-5d4f8-x2x9p
        # The last lines of one of a deployment's pods
        orchestra logs deploy/web --tail=20
        # Why did it end?
        orchestra logs web-5d4f8-x2x9p -p
        # Of all pods with a label
        orchestra logs -l app=web --prefix
        """,
        _logs,
    ),
)
