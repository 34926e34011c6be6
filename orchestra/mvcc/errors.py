"""Why the machine refuses a command. A refusal is part of the state's history: it is the same everywhere."""

from orchestra.base.errors import OrchestraError


class Refused(OrchestraError):
    """The command was understood and not done; nothing changed."""


class Compacted(Refused):
    """The revision asked for is no longer kept. `compact_revision` is the oldest that is."""

    def __init__(self, compact_revision: int) -> None:
        super().__init__(f"required revision has been compacted: the oldest kept is {compact_revision}")
        self.compact_revision = compact_revision


class FutureRevision(Refused):
    """The revision asked for has not happened yet."""

    def __init__(self, asked: int, revision: int) -> None:
        super().__init__(f"required revision {asked} is a future revision: the newest is {revision}")


class LeaseNotFound(Refused):
    """No such lease, or it has expired."""

    def __init__(self, lease: int) -> None:
        super().__init__(
            f"requested lease {lease} not found: it was never granted, was revoked or has expired"
        )
        self.lease = lease


class LeaseExists(Refused):
    """A lease of that id is there already."""

    def __init__(self, lease: int) -> None:
        super().__init__(f"lease {lease} already exists")


class LeaseTtlTooLarge(Refused):
    """The time to live asked for is outside what a lease may have."""


class EmptyKey(Refused):
    """A key has at least one byte."""

    def __init__(self) -> None:
        super().__init__("key is not provided")


class KeyNotFound(Refused):
    """A put keeps the value or the lease of a key that is not there."""

    def __init__(self, key: bytes) -> None:
        super().__init__(f"key not found: {key!r} has no value or lease to keep")


class ValueProvided(Refused):
    """A put that keeps the key's value brings one."""

    def __init__(self, key: bytes) -> None:
        super().__init__(f"value is provided: the put of {key!r} keeps the value that is there")


class LeaseProvided(Refused):
    """A put that keeps the key's lease brings one."""

    def __init__(self, key: bytes) -> None:
        super().__init__(f"lease is provided: the put of {key!r} keeps the lease that is there")


class SpaceExceeded(Refused):
    """The NOSPACE alarm is raised: until it has ended, nothing is added; deleting and compacting go on."""

    def __init__(self) -> None:
        super().__init__("database space exceeded: delete or compact, then end the NOSPACE alarm")


class Corrupt(Refused):
    """The CORRUPT alarm is raised: members do not agree, and nothing is written until it has been ended."""

    def __init__(self) -> None:
        super().__init__("corrupt cluster: replace the members that differ, then end the CORRUPT alarm")


class InvalidCompare(Refused):
    """A comparison of a value with a number, or of a number with a value."""


class DuplicateKey(Refused):
    """A transaction writes one key twice."""

    def __init__(self, key: bytes) -> None:
        super().__init__(f"duplicate key given in txn request: {key!r} would be written twice")


class TooManyOperations(Refused):
    """A transaction has more operations than one may have."""


class RequestTooLarge(Refused):
    """A key, a value or a whole transaction is larger than it may be."""
