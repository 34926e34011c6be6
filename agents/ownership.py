"""A data directory belongs to one agent at a time: two would take the spawner from each other for ever."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from orchestra.base.errors import OrchestraError
from orchestra.base.log import get_logger

log = get_logger("agent")

# Containers may run as anybody and reach their own volumes; nobody else is shown what there is.
PASSABLE = 0o711


@contextlib.contextmanager
def taken(data_dir: Path) -> Iterator[None]:
    """Holds the directory, making it first. The kernel lets go of it with the process, however that ends.

    Raises: OrchestraError when another agent has it, or it cannot be made.
    """
    try:
        data_dir.mkdir(mode=PASSABLE, parents=True, exist_ok=True)
        lock = os.open(data_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OrchestraError(
            f"{data_dir}: cannot be used as data directory ({error.strerror}): give another by --data-dir"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OrchestraError(
                f"{data_dir}: another agent runs there: stop it, or give this one a --data-dir of its own"
            ) from None
        except OSError as error:
            log.warning("the data directory's file system has no locks", data_dir=data_dir, why=error)
        yield
    finally:
        os.close(lock)
