"""Questions that only the leader can answer, from whichever member they are asked.

A question goes to the leader, and to its successor, until one answers. The leader does what is asked once,
however often the question arrives; a successor may be asked for what has been done already, and answers so.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from orchestra.base.errors import OrchestraError
from orchestra.cluster.membership import REFUSALS, MemberNotFound, NotALearner
from orchestra.cluster.messages import Answer, Ask, PeerMessage
from orchestra.mvcc.errors import LeaseNotFound
from orchestra.pb import raft_v1_pb2 as pb
from orchestra.raft.errors import NotLeader
from orchestra.store.contract import NoSpace, NotProposed, StoreUnavailable

REMEMBERED = 1024
# A member that was asked and does not lead is asked again after this part of the usual wait.
_PAUSES = 5

Respond = Callable[[pb.Ask], Awaitable[pb.Answer]]


class LeaderAsks:
    """One member's questions, and its answers while it leads. Bound: REMEMBERED answers, as many at work."""

    def __init__(
        self,
        own: int,
        first_id: int,
        respond: Respond,
        send: Callable[[PeerMessage], None],
        timeout_seconds: float,
        resend_seconds: float,
    ) -> None:
        """respond: answers as the leader. Raises NotLeader when it is not; any refusal goes to who asked."""
        self._own = own
        self._next_id = first_id
        self._respond = respond
        self._send = send
        self._timeout_seconds = timeout_seconds
        self._resend_seconds = resend_seconds
        self._leader = 0
        self._waiting: dict[int, tuple[asyncio.Future[pb.Answer | None], str]] = {}
        self._working: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._answered: OrderedDict[tuple[int, int], pb.Answer] = OrderedDict()
        self._closed: str | None = None

    # Asking.

    async def ask(self, question: pb.Ask) -> pb.Answer:
        """The leader's answer. Raises: its refusal (MembershipRefused, LeaseNotFound), StoreUnavailable."""
        self._next_id += 1
        question.id = self._next_id
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._ask(question)
        except TimeoutError:
            raise StoreUnavailable(
                "no leader has answered in time, and whether what was asked for is done is not known: see "
                "that most of the members run, look, then ask again"
            ) from None

    async def _ask(self, question: pb.Ask) -> pb.Answer:
        times = first = 0
        while True:
            if self._closed is not None:
                raise StoreUnavailable(self._closed)
            if first and self._leader not in (0, first) and _has_moved(question, self._leader):
                return pb.Answer(id=question.id)
            first = first or self._leader
            answer: pb.Answer | None
            if self._leader == self._own:
                answer = await self._answer(question)
            else:
                if self._leader:
                    self._send(Ask(self._own, self._leader, question))
                answer = await self._wait(question.id, self._resend_seconds)
            times += bool(self._leader)
            if answer is not None and answer.refusal == NotLeader.__name__:
                # It may have begun to lead and not know all of the log yet, or be a leader no more.
                answer = await self._wait(question.id, self._resend_seconds / _PAUSES, but=NotLeader.__name__)
            if answer is not None:
                return _checked(question, answer, times)

    async def _wait(self, id_: int, seconds: float, but: str = "") -> pb.Answer | None:
        """An answer, unless it is a certain refusal; None when there is another leader, or time is over."""
        waiting: asyncio.Future[pb.Answer | None] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = waiting, but
        try:
            async with asyncio.timeout(seconds):
                return await waiting
        except TimeoutError:
            return None
        finally:
            del self._waiting[id_]

    def answered(self, answer: pb.Answer) -> None:
        """An answer has come in."""
        waiting, but = self._waiting.get(answer.id, (None, ""))
        if waiting is not None and not waiting.done() and (not but or answer.refusal != but):
            waiting.set_result(answer)

    def leader_is(self, leader: int) -> None:
        """Another leader, or none: those that wait ask anew."""
        self._leader = leader
        for waiting, _ in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)

    # Answering.

    def asked(self, ask: Ask) -> None:
        """A question has come in: answers it, once it has done what was asked."""
        key = ask.frm, ask.question.id
        done = self._answered.get(key)
        if done is not None:
            self._send(Answer(self._own, ask.frm, done))
        elif key not in self._working and self._closed is None and len(self._working) < REMEMBERED:
            task = asyncio.get_running_loop().create_task(self._work(ask))
            self._working[key] = task
            task.add_done_callback(lambda _: self._working.pop(key, None))

    async def _work(self, ask: Ask) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._answer(ask.question)
        except TimeoutError:
            # Who asked has stopped waiting by now.
            return
        if answer.refusal not in (NotLeader.__name__, StoreUnavailable.__name__):
            self._answered[ask.frm, ask.question.id] = answer
            if len(self._answered) > REMEMBERED:
                self._answered.popitem(last=False)
        self._send(Answer(self._own, ask.frm, answer))

    async def _answer(self, question: pb.Ask) -> pb.Answer:
        try:
            answer = await self._respond(question)
        except NotProposed as error:
            answer = pb.Answer(refusal=NotLeader.__name__, message=str(error))
        except StoreUnavailable as error:
            answer = pb.Answer(refusal=_unavailable(error), message=str(error))
        except OrchestraError as error:
            answer = pb.Answer(refusal=type(error).__name__, message=str(error))
        answer.id = question.id
        return answer

    def fail(self, reason: str) -> None:
        """Answers all that wait, and takes no more."""
        self._closed = self._closed or reason
        self.leader_is(0)

    async def close(self, reason: str) -> None:
        """The same, and ends its work."""
        self.fail(reason)
        working = list(self._working.values())
        for task in working:
            task.cancel()
        if working:
            await asyncio.wait(working)


def _has_moved(question: pb.Ask, leader: int) -> bool:
    """Whether it was asked that somebody like this leads."""
    return question.WhichOneof("question") == "move_leader" and question.move_leader in (0, leader)


def _unavailable(error: StoreUnavailable) -> str:
    return NoSpace.__name__ if isinstance(error, NoSpace) else StoreUnavailable.__name__


def _checked(question: pb.Ask, answer: pb.Answer, times: int) -> pb.Answer:
    """The answer, unless it is a refusal; one that says that it has been done is none when asked again."""
    refusal = answer.refusal
    if not refusal:
        return answer
    asked = question.WhichOneof("question")
    if times > 1 and (asked, refusal) in (
        ("member_remove", MemberNotFound.__name__),
        ("member_promote", NotALearner.__name__),
    ):
        return answer
    if refusal == LeaseNotFound.__name__:
        raise LeaseNotFound(question.keep_alive or question.remaining)
    if refusal == NoSpace.__name__:
        raise NoSpace(answer.message)
    raise REFUSALS.get(refusal, StoreUnavailable)(answer.message)
