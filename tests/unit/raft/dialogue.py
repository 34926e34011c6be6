"""Dialogues: commands to a group in memory, and what its members say and do.

A file is a row of blocks, parted by an empty line: commands, a line `----`, what is expected. `#` begins a remark.

    add N.. [voters=1,2] [learners=3] [SETTING=VALUE]   members with numbers N
    lead N           stands, and is elected, without a word about it
    campaign N | tick N [TIMES] | propose N DATA.. | read N ID | transfer N [TO] | suspect N OF | unreachable N OF
    change N voters=1,2 [learners=3]
    work N           one Ready: persist, send, apply
    deliver [A->B]   what is under way now, all or of one way
    lose A->B        what is under way that way
    repeat A->B      what is under way that way, once more
    stabilize        works and delivers until all is quiet
    drop A->B | heal     from now on that way is cut | none is
    crash N | restart N | snapshot N [KEEP]
    full N | room N  its disk has no room for another's snapshot | has it again
    log N | status [N] | progress N
"""

from collections.abc import Callable

from orchestra.base.errors import OrchestraError
from orchestra.raft.encoding import decode_configuration
from orchestra.raft.model import (
    AppendRequest,
    AppendResponse,
    Configuration,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatResponse,
    Message,
    ReadRequest,
    ReadResponse,
    Ready,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from tests.unit.raft.group import Group


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def _configuration(configuration: Configuration) -> str:
    parts = [
        ("voters", configuration.voters),
        ("outgoing", configuration.outgoing),
        ("learners", configuration.learners),
    ]
    return " ".join(f"{name}={','.join(map(str, sorted(who)))}" for name, who in parts if who)


def _entry(entry: Entry) -> str:
    if entry.kind is EntryKind.CONFIGURATION:
        return f"{entry.term}/{entry.index} [{_configuration(decode_configuration(entry.data))}]"
    return f"{entry.term}/{entry.index} {entry.data.decode() or '(begins the term)'}"


def _message(message: Message, numbers: dict[int, int]) -> str:
    """numbers: reads are numbered at random; here from 1."""
    head = f"{message.frm}->{message.to} t{message.term} "
    match message:
        case VoteRequest():
            kind = "pre-vote?" if message.pre else "vote?"
            forced = " (handed over)" if message.transfer else ""
            return f"{head}{kind} last {message.last_term}/{message.last_index}{forced}"
        case VoteResponse():
            return f"{head}{'pre-vote' if message.pre else 'vote'}: {'yes' if message.granted else 'no'}"
        case AppendRequest():
            entries = ", ".join(map(_entry, message.entries))
            return f"{head}append after {message.prev_term}/{message.prev_index}: {entries or '-'}; commit {message.commit}"
        case AppendResponse() if message.refused:
            return f"{head}refused at {message.index}, try {message.hint_term}/{message.hint_index}"
        case AppendResponse():
            return f"{head}has {message.index}"
        case Heartbeat():
            return f"{head}heartbeat, round {message.round}; commit {message.commit}"
        case HeartbeatResponse():
            return f"{head}heartbeat's answer, round {message.round}"
        case SnapshotChunk():
            end = ", the last" if message.last else ""
            return f"{head}snapshot {message.mark.term}/{message.mark.index} piece {message.sequence}{end}"
        case SnapshotResponse():
            done = ", done" if message.done else ", no room" if message.refused else ""
            return f"{head}snapshot at {message.index}: {message.received} pieces{done}"
        case ReadRequest():
            return f"{head}read {numbers.setdefault(message.id, len(numbers) + 1)}?"
        case ReadResponse():
            return f"{head}read {numbers.setdefault(message.id, len(numbers) + 1)}: {message.index or 'cannot say'}"
        case TimeoutNow():
            return f"{head}stand now"


class Dialogue:
    """A group, and what it said since the block began."""

    def __init__(self) -> None:
        self.group = Group()
        self.said: list[str] = []
        self.read_numbers: dict[int, int] = {}

    def run(self, text: str) -> str:
        """Runs the blocks of a file. Returns the file as it should be."""
        blocks = []
        for block in text.strip("\n").split("\n\n"):
            commands = block.split("\n----", 1)[0]
            if all(line.startswith("#") for line in commands.splitlines()):
                blocks.append(commands)
                continue
            self.said = []
            for line in commands.splitlines():
                if not line.startswith("#"):
                    self.command(line)
            blocks.append("\n".join([commands, "----", *(self.said or ["ok"])]))
        return "\n\n".join(blocks) + "\n"

    def command(self, line: str) -> None:
        verb, *words = line.split()
        named = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        handler: Callable[[list[str], dict[str, str]], None] = getattr(self, f"do_{verb}")
        try:
            handler(plain, named)
        except OrchestraError as error:
            self.said.append(f"{type(error).__name__}: {error}")

    def do_add(self, words: list[str], named: dict[str, str]) -> None:
        voters = named.pop("voters", None)
        learners = _numbers(named.pop("learners", ""))
        settings = {
            name: value == "True" if value in ("True", "False") else int(value)
            for name, value in named.items()
        }
        self.group.add(
            [int(w) for w in words], None if voters is None else _numbers(voters), learners, **settings
        )

    def do_campaign(self, words: list[str], named: dict[str, str]) -> None:
        self.group[int(words[0])].campaign()

    def do_lead(self, words: list[str], named: dict[str, str]) -> None:
        self.group.lead(int(words[0]))

    def do_tick(self, words: list[str], named: dict[str, str]) -> None:
        for _ in range(int(words[1]) if len(words) > 1 else 1):
            self.group[int(words[0])].tick()

    def do_propose(self, words: list[str], named: dict[str, str]) -> None:
        index = self.group[int(words[0])].propose([word.encode() for word in words[1:]])
        self.said.append(f"from index {index}")

    def do_read(self, words: list[str], named: dict[str, str]) -> None:
        self.group[int(words[0])].read(int(words[1]))

    def do_transfer(self, words: list[str], named: dict[str, str]) -> None:
        self.group[int(words[0])].transfer_leadership(int(words[1]) if len(words) > 1 else 0)

    def do_suspect(self, words: list[str], named: dict[str, str]) -> None:
        self.group[int(words[0])].suspect(int(words[1]))

    def do_unreachable(self, words: list[str], named: dict[str, str]) -> None:
        self.group[int(words[0])].unreachable(int(words[1]))

    def do_change(self, words: list[str], named: dict[str, str]) -> None:
        voters, learners = _numbers(named["voters"]), _numbers(named.get("learners", ""))
        index = self.group[int(words[0])].change(frozenset(voters), frozenset(learners), b"")
        self.said.append(f"at index {index}")

    def do_work(self, words: list[str], named: dict[str, str]) -> None:
        if not self.work(int(words[0])):
            self.said.append(f"{words[0]}: nothing to do")

    def work(self, number: int) -> bool:
        node = self.group.nodes[number]
        if not node.up or (ready := node.core.ready()) is None:
            return False
        if node.full and ready.chunks:
            self.said.append(
                f"{number}: has no room for piece {', '.join(str(c.sequence) for c in ready.chunks)}"
            )
            ready = node.core.abandon_incoming()
        self.describe(number, ready)
        self.group.send(ready.send_now)
        node.persist(ready)
        self.group.send(ready.send_after_sync)
        self.group.finish(node, ready)
        return True

    def describe(self, number: int, ready: Ready) -> None:
        core = self.group[number]
        say = self.said.append
        say(
            f"{number}: {core.role.name.lower()}, term {core.term}, leader {core.leader or 'unknown'}, commit {core.commit}"
        )
        self.said.extend(f"  now    {_message(each, self.read_numbers)}" for each in ready.send_now)
        if ready.hard_state is not None:
            state = ready.hard_state
            say(f"  write  term {state.term}, vote {state.vote or 'nobody'}, commit {state.commit}")
        self.said.extend(f"  write  {_entry(each)}" for each in ready.entries)
        if ready.install is not None:
            say(
                f"  install {ready.install.term}/{ready.install.index} [{_configuration(ready.install.configuration)}]"
            )
        self.said.extend(f"  then   {_message(each, self.read_numbers)}" for each in ready.send_after_sync)
        self.said.extend(f"  apply  {_entry(each)}" for each in ready.committed)
        self.said.extend(f"  read   {each.id}: {each.index or 'nobody could say'}" for each in ready.reads)
        self.said.extend(f"  wanted a snapshot for {each}" for each in ready.snapshots_wanted)

    def _take(self, way: str) -> list[Message]:
        frm, to = map(int, way.split("->"))
        taken = [m for m in self.group.network if (m.frm, m.to) == (frm, to)]
        self.group.network = [m for m in self.group.network if (m.frm, m.to) != (frm, to)]
        return taken

    def do_deliver(self, words: list[str], named: dict[str, str]) -> None:
        if words:
            messages = self._take(words[0])
        else:
            messages, self.group.network = self.group.network, []
        for message in messages:
            self.group.deliver(message)

    def do_lose(self, words: list[str], named: dict[str, str]) -> None:
        self.said.extend(f"lost {_message(each, self.read_numbers)}" for each in self._take(words[0]))

    def do_repeat(self, words: list[str], named: dict[str, str]) -> None:
        messages = self._take(words[0])
        self.group.network += [*messages, *messages]

    def do_stabilize(self, words: list[str], named: dict[str, str]) -> None:
        for _ in range(100):
            busy = False
            for number in sorted(self.group.nodes):
                while self.work(number):
                    busy = True
            waiting, self.group.network = self.group.network, []
            for message in waiting:
                self.group.deliver(message)
            if not busy and not waiting:
                return
        raise AssertionError("it does not come to rest")

    def do_drop(self, words: list[str], named: dict[str, str]) -> None:
        for word in words:
            frm, to = map(int, word.split("->"))
            self.group.cut.add((frm, to))

    def do_heal(self, words: list[str], named: dict[str, str]) -> None:
        self.group.heal()

    def do_crash(self, words: list[str], named: dict[str, str]) -> None:
        self.group.nodes[int(words[0])].crash()

    def do_restart(self, words: list[str], named: dict[str, str]) -> None:
        self.group.nodes[int(words[0])].start()

    def do_full(self, words: list[str], named: dict[str, str]) -> None:
        self.group.nodes[int(words[0])].full = True

    def do_room(self, words: list[str], named: dict[str, str]) -> None:
        self.group.nodes[int(words[0])].full = False

    def do_snapshot(self, words: list[str], named: dict[str, str]) -> None:
        node = self.group.nodes[int(words[0])]
        node.snapshot(int(words[1]) if len(words) > 1 else 0)
        self.said.append(f"{words[0]}: snapshot at {node.disk.mark.index}, log from {node.core.first_index}")

    def do_log(self, words: list[str], named: dict[str, str]) -> None:
        disk = self.group.nodes[int(words[0])].disk
        mark = [f"{disk.mark.term}/{disk.mark.index} (snapshot)"] if disk.mark.index else []
        self.said.extend([*mark, *map(_entry, disk.entries)] or ["empty"])

    def do_status(self, words: list[str], named: dict[str, str]) -> None:
        for number in [int(word) for word in words] or sorted(self.group.nodes):
            core = self.group[number]
            up = "" if self.group.nodes[number].up else " (down)"
            self.said.append(
                f"{number}: {core.role.name.lower()}, term {core.term}, leader {core.leader or 'unknown'}, "
                f"last {core.last_index}, commit {core.commit}, applied {core.applied}{up}; {_configuration(core.configuration)}"
            )

    def do_progress(self, words: list[str], named: dict[str, str]) -> None:
        for each in self.group[int(words[0])].progress():
            kind = "learner" if each.is_learner else "voter"
            active = "" if each.active else ", silent"
            self.said.append(
                f"{each.node}: {kind}, {each.state}, match {each.match}, next {each.next}{active}"
            )
