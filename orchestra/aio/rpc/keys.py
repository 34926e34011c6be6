"""Names in calls' metadata that both ends have to know."""

from typing import Final

# Of an agent's Session: the address of a master that it has just lost, and cannot reach.
LOST_MASTER: Final = "orchestra-lost"
# Of a call that a master has passed on to the leading one, by whom: it is not passed on again.
FORWARDED_BY: Final = "orchestra-forwarded-by"
