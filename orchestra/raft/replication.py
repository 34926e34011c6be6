"""The leader's log becomes everyone's. Source: paper §5.3, §5.4.2; thesis §10.2.1 (pipelining)."""

from orchestra.raft.log import size_of
from orchestra.raft.membership import after_commit
from orchestra.raft.model import AppendRequest, AppendResponse, Heartbeat, HeartbeatResponse
from orchestra.raft.progress import Pace, Progress
from orchestra.raft.quorum import reached_by_majority
from orchestra.raft.state import State

# A follower's side.


def handle_append(state: State, message: AppendRequest) -> None:
    """Takes the entries if the log has the one before them; replaces what conflicts (paper §5.3)."""
    if state.install is not None:
        # What the log is to be after it is not there yet; the leader sends again.
        return
    log = state.log
    prev_index = message.prev_index
    if prev_index < log.commit:
        # All that is committed matches.
        _accept(state, message, log.commit)
        return
    if log.term_at(prev_index) != message.prev_term:
        index, term = log.newest_not_above(prev_index, message.prev_term)
        state.out.append(AppendResponse(state.node, message.frm, state.term, prev_index, True, index, term))
        return
    entries = message.entries
    if prev_index != log.last_index:
        known = 0
        for entry in entries:
            if log.term_at(entry.index) != entry.term:
                break
            known += 1
        entries = entries[known:] if known else entries
        if entries and entries[0].index <= log.last_index:
            log.truncate(entries[0].index)
    if entries:
        log.extend(entries)
    last = prev_index + len(message.entries)
    # Entries beyond the last one sent may be of another leader (paper figure 2, step 5).
    log.commit_to(min(message.commit, last))
    _accept(state, message, last)


def _accept(state: State, message: AppendRequest, index: int) -> None:
    state.out.append(AppendResponse(state.node, message.frm, state.term, index))


def handle_heartbeat(state: State, message: Heartbeat) -> None:
    """Learns the commit index, and confirms who leads."""
    if state.install is None:
        state.log.commit_to(message.commit)
    state.out.append(HeartbeatResponse(state.node, message.frm, state.term, message.round))


# The leader's side.


def handle_append_response(state: State, message: AppendResponse) -> None:
    """Moves the follower's progress; commits what a majority has."""
    progress = state.followers.get(message.frm)
    if progress is None:
        return
    if message.refused:
        _step_back(state, progress, message)
        return
    progress.active = True
    is_news = progress.matched(message.index)
    if progress.pace is Pace.REPLICATE:
        progress.arrived(message.index)
    elif progress.pace is Pace.PROBE:
        # The answer shows where the logs meet: from here on without waiting.
        if is_news or message.index == progress.match:
            progress.replicate()
    elif progress.match + 1 >= state.log.first_index:
        progress.replicate()
    if is_news:
        advance_commit(state)


def _step_back(state: State, progress: Progress, message: AppendResponse) -> None:
    """Goes back a term at a time rather than an entry at a time (paper §5.3, the end)."""
    progress.active = True
    if message.index <= progress.match or progress.pace is Pace.SNAPSHOT:
        return
    if progress.pace is Pace.REPLICATE:
        progress.probe()
        return
    if message.index != progress.next - 1:
        # An answer to an older question.
        return
    meet = message.hint_index
    if message.hint_term:
        meet, _ = state.log.newest_not_above(message.hint_index, message.hint_term)
    progress.next = max(min(message.index, meet + 1), progress.match + 1)
    progress.paused = False
    progress.poked = True


def handle_heartbeat_return(state: State, message: HeartbeatResponse) -> None:
    """A follower is there: what was sent before and not answered may be lost."""
    progress = state.followers.get(message.frm)
    if progress is None:
        return
    progress.active = True
    progress.paused = False
    settings = state.settings
    if progress.pace is Pace.REPLICATE and progress.is_full(
        settings.inflight_max, settings.inflight_bytes_max
    ):
        progress.forget_oldest()
    if progress.match < state.log.last_index:
        progress.poked = True


def advance_commit(state: State) -> None:
    """Commits what a majority has, if it is of the own term; older entries along with it (paper §5.4.2)."""
    log = state.log
    reached = {node: progress.match for node, progress in state.followers.items()}
    reached[state.node] = log.durable
    index = reached_by_majority(log.configuration, reached)
    if index > log.commit and log.term_at(index) == state.term:
        commit(state, index)


def commit(state: State, index: int) -> None:
    """Moves the leader's commit index, with what follows from it."""
    log = state.log
    before = log.commit
    if log.commit_to(index):
        state.pending_bytes -= size_of(log.slice(before + 1, 1 << 62, index))
        after_commit(state)


def send_entries(state: State) -> None:
    """Sends everyone what it lacks, as far as the bounds allow."""
    for node, progress in state.followers.items():
        if progress.pace is Pace.REPLICATE:
            _stream(state, node, progress)
        elif progress.pace is Pace.PROBE and not progress.paused:
            wanting = progress.next <= state.log.last_index or progress.poked
            progress.paused = wanting and _send(state, node, progress)
        progress.poked = False


def _stream(state: State, node: int, progress: Progress) -> None:
    settings, log = state.settings, state.log
    sent = False
    while progress.next <= log.last_index and not progress.is_full(
        settings.inflight_max, settings.inflight_bytes_max
    ):
        if not _send(state, node, progress):
            return
        sent = True
    if not sent and (
        progress.commit_sent < min(log.commit, progress.next - 1)
        or (progress.poked and progress.match < log.last_index)
    ):
        _send(state, node, progress, empty=True)


def _send(state: State, node: int, progress: Progress, *, empty: bool = False) -> bool:
    """Sends one message. False: what it needs is forgotten, it wants a snapshot (paper §7)."""
    log = state.log
    prev_index = progress.next - 1
    prev_term = log.term_at(prev_index)
    if prev_term is None:
        if progress.heard_lately and state.now >= progress.snapshot_after_tick:
            progress.want_snapshot()
            state.wanted.append(node)
        return False
    entries = [] if empty else log.slice(progress.next, state.settings.append_bytes_max)
    state.out.append(AppendRequest(state.node, node, state.term, prev_index, prev_term, entries, log.commit))
    progress.commit_sent = min(log.commit, prev_index + len(entries))
    if entries and progress.pace is Pace.REPLICATE:
        progress.next = entries[-1].index + 1
        progress.sent(entries[-1].index, size_of(entries))
    return True
