"""Majorities. While the voters change, every decision needs one of the old and one of the new (paper §6)."""

from collections.abc import Iterable, Mapping

from orchestra.raft.model import Configuration


def reached_by_majority(configuration: Configuration, reached: Mapping[int, int]) -> int:
    """The highest number that a majority (of both sides, when joint) has reached; 0 for who is not listed.

    Source: paper §5.3 (commit), §6 (joint consensus).
    """
    index = _reached(configuration.voters, reached)
    return min(index, _reached(configuration.outgoing, reached)) if configuration.outgoing else index


def _reached(voters: Iterable[int], reached: Mapping[int, int]) -> int:
    ascending = sorted(reached.get(voter, 0) for voter in voters)
    return ascending[(len(ascending) - 1) // 2] if ascending else 0


def decided(configuration: Configuration, votes: Mapping[int, bool]) -> bool | None:
    """Whether the votes win (True), cannot win any more (False), or neither yet (None).

    Source: paper §5.2, §6.
    """
    sides = [_decided(configuration.voters, votes)]
    if configuration.outgoing:
        sides.append(_decided(configuration.outgoing, votes))
    if False in sides:
        return False
    return None if None in sides else True


def _decided(voters: frozenset[int], votes: Mapping[int, bool]) -> bool | None:
    majority = len(voters) // 2 + 1
    if sum(votes.get(voter, False) for voter in voters) >= majority:
        return True
    open_votes = sum(votes.get(voter, True) for voter in voters)
    return None if open_votes >= majority else False
