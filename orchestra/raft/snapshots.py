"""Snapshots in bounded pieces, for members whose next entry is forgotten. Source: paper §7; thesis §5.

The leader keeps a window of pieces under way and sends them again when nothing is answered; the follower
takes pieces in order only, and starts anew when a newer sending begins.
"""

from collections.abc import Iterator
from dataclasses import replace

from orchestra.base.errors import OrchestraError
from orchestra.raft.model import (
    AppendResponse,
    Message,
    Ready,
    SnapshotChunk,
    SnapshotMark,
    SnapshotResponse,
)
from orchestra.raft.progress import Pace, Progress, Sending
from orchestra.raft.replication import advance_commit
from orchestra.raft.state import Incoming, State

# After so many fruitless waits the next one is not longer than the one before.
_WAITS_MAX = 4
# Who had no room for it is asked again after twice as long each time, up to so many times.
_REFUSALS_MAX = 4

# A follower's side.


def handle_chunk(state: State, message: SnapshotChunk) -> None:
    """Takes the next piece; installs when it was the last one."""
    if state.install is not None:
        return
    log, mark = state.log, message.mark
    if log.term_at(mark.index) == mark.term:
        # The log has all that it stands for, which is committed; the rest of the log stays (paper §7).
        log.commit_to(mark.index)
    if mark.index <= log.commit:
        state.incoming = None
        _respond(state, message, received=message.sequence, done=True)
        return
    place = (message.term, message.stream)
    incoming = state.incoming
    if message.sequence == 0 and (incoming is None or place > incoming.place):
        incoming = state.incoming = Incoming(place)
    if incoming is None or place > incoming.place:
        # Its beginning is not here.
        _respond(state, message, received=0, done=False)
        return
    if place < incoming.place:
        return
    if message.sequence == incoming.received:
        incoming.received += 1
        state.chunks.append(message)
        if message.last:
            log.install(mark)
            state.install = mark
            state.incoming = None
    _respond(state, message, received=incoming.received, done=state.install is not None)


def abandon(state: State, ready: Ready) -> Ready:
    """Instead of a Ready's pieces, and of installing: they could not be kept. What is left to be done of it.

    What is said to be durable here may rely on them: it is not said, and the leader asks again.
    """
    if not ready.chunks:
        raise AssertionError("no piece of a snapshot is to be kept")
    newest = ready.chunks[-1]
    unsaid: list[type[Message]] = [SnapshotResponse]
    hard_state = ready.hard_state
    # With it what has come in after it.
    state.incoming, state.chunks = None, []
    state.out = [message for message in state.out if not isinstance(message, SnapshotResponse)]
    if state.install is not None:
        state.install = None
        state.log.not_installed()
        unsaid.append(AppendResponse)
        if hard_state is not None:
            hard_state = replace(hard_state, commit=min(state.log.commit, state.log.durable))
    answers = [message for message in ready.send_after_sync if not isinstance(message, tuple(unsaid))]
    index, stream = newest.mark.index, newest.stream
    answers.append(
        SnapshotResponse(state.node, newest.frm, state.term, index, 0, stream=stream, refused=True)
    )
    return replace(
        ready,
        hard_state=hard_state,
        must_sync=bool(ready.entries) or hard_state is not None,
        chunks=(),
        install=None,
        send_after_sync=answers,
    )


def _respond(state: State, message: SnapshotChunk, *, received: int, done: bool) -> None:
    index = message.mark.index
    state.out.append(
        SnapshotResponse(state.node, message.frm, state.term, index, received, done, message.stream)
    )


# The leader's side.


def offer(state: State, node: int, mark: SnapshotMark, pieces: Iterator[bytes]) -> None:
    """The driver's answer to `snapshots_wanted`."""
    progress = state.followers.get(node)
    if progress is None or progress.pace is not Pace.SNAPSHOT:
        return
    state.streams += 1
    progress.sending = Sending(mark, pieces, state.streams)


def failed(state: State, node: int) -> None:
    """There was none, or it could not be read: tries again after a while."""
    progress = state.followers.get(node)
    if progress is not None and progress.pace is Pace.SNAPSHOT:
        _give_up(state, progress)


def _give_up(state: State, progress: Progress) -> None:
    progress.probe()
    progress.snapshot_after_tick = state.now + state.settings.election_ticks * (1 << progress.refusals)


def handle_snapshot_response(state: State, message: SnapshotResponse) -> None:
    """Moves the window; when it is done, goes on with the log."""
    progress = state.followers.get(message.frm)
    if progress is None:
        return
    progress.active = True
    if message.refused:
        if progress.sending is not None and progress.sending.stream == message.stream:
            _give_up(state, progress)
            progress.refusals = min(progress.refusals + 1, _REFUSALS_MAX)
        return
    if message.done:
        progress.refusals = 0
        # Whichever sending it answers: up to there all is known to be there.
        if progress.matched(message.index):
            advance_commit(state)
        if progress.pace is Pace.SNAPSHOT and progress.match + 1 >= state.log.first_index:
            # The logs are known to meet there, whether or not there is anything to send.
            progress.replicate()
        elif progress.sending is not None and progress.sending.stream == message.stream:
            # The log went on meanwhile, beyond what the snapshot reached.
            progress.probe()
        return
    sending = progress.sending
    if sending is None or sending.stream != message.stream:
        return
    if message.received < sending.confirmed:
        if message.received == 0:
            # It has lost what it had: it began anew itself.
            progress.probe()
        return
    if message.received > sending.confirmed:
        while sending.window and sending.window[0][0] < message.received:
            sending.window.popleft()
        sending.confirmed = message.received
        sending.quiet_ticks = sending.attempts = 0


def send_pieces(state: State) -> None:
    """Fills every window (bound: snapshot_window)."""
    for node, progress in state.followers.items():
        if progress.sending is None:
            continue
        try:
            _fill(state, node, progress.sending)
        except (OSError, OrchestraError):
            _give_up(state, progress)


def _fill(state: State, node: int, sending: Sending) -> None:
    while not sending.done and len(sending.window) < state.settings.snapshot_window:
        if sending.ahead is None:
            sending.ahead = next(sending.pieces, b"")
        following = next(sending.pieces, None)
        piece = (sending.sequence, sending.ahead, following is None)
        sending.window.append(piece)
        _send(state, node, sending, piece)
        sending.sequence += 1
        sending.ahead = following
        sending.done = following is None


def _send(state: State, node: int, sending: Sending, piece: tuple[int, bytes, bool]) -> None:
    sequence, data, last = piece
    state.out.append(
        SnapshotChunk(state.node, node, state.term, sending.mark, sequence, data, last, sending.stream)
    )


def tick_snapshots(state: State) -> None:
    """Sends again what was not answered for an election timeout, then more and more rarely."""
    for node, progress in state.followers.items():
        sending = progress.sending
        if sending is None:
            continue
        sending.quiet_ticks += 1
        if not progress.heard_lately or sending.quiet_ticks < state.settings.election_ticks * (
            1 + sending.attempts
        ):
            continue
        sending.quiet_ticks = 0
        sending.attempts = min(sending.attempts + 1, _WAITS_MAX)
        for piece in sending.window:
            _send(state, node, sending, piece)
