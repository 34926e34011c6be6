"""What a member says about itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestra.raft.model import Role


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """id, leader: members; leader 0: nobody that it knows of. cluster: the first 8 bytes of its id.

    raft_index: the newest entry known to be committed. errors: what keeps it from working in full, as etcd
    words it. state_bytes: of the newest snapshot and the log after it, about.
    """

    id: int
    cluster: int
    name: str
    term: int
    leader: int
    role: Role
    raft_index: int
    applied_index: int
    is_learner: bool
    errors: Sequence[str]
    state_bytes: int
