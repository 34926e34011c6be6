"""snapshot: the whole store in one file, and a new cluster from it."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli.command import Command
from orchestra.cli.flags import NO_HEADERS, Flag
from orchestra.cli.session import Session

if TYPE_CHECKING:
    from orchestra.cluster.backup import BackupInfo
    from orchestra.cluster.bootstrap import Bootstrap

_OUTPUT = Flag("output", "json or yaml.", "o")
_COLUMNS = ("HASH", "REVISION", "KEYS", "SIZE")


def _file(session: Session) -> Path:
    if len(session.words) != 1:
        raise UsageError("exactly one FILE is required")
    return Path(session.words[0])


def _form(session: Session) -> str:
    form = str(session.options.output)
    if form not in ("", "json", "yaml"):
        raise UsageError("--output must be 'yaml' or 'json'")
    return form


def _size(count: int) -> str:
    """As etcdctl says it: 25 kB, 1.2 MB."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


def _tell(session: Session, info: "BackupInfo", more: dict[str, object] | None = None) -> None:
    """What a file holds. more: what a program is told besides."""
    form = _form(session)
    if form:
        from orchestra.cli.printing.structured import STRUCTURED

        said = {
            "hash": info.hash,
            "revision": info.revision,
            "totalKey": info.keys,
            "totalSize": info.bytes,
            "cluster": info.cluster_id,
            "term": info.term,
            "index": info.index,
            **(more or {}),
        }
        session.write(STRUCTURED[form](said))
        return
    from orchestra.cli.printing.tables import plain_table

    row = [info.hash, str(info.revision), str(info.keys), _size(info.bytes)]
    session.write(plain_table(_COLUMNS, [row], headers=not session.options.no_headers))


async def _save(session: Session) -> int:
    path = _file(session)
    _form(session)
    if path.is_dir():
        raise OrchestraError(f"{path}: is a directory; name the file that is to be written")
    if not path.parent.is_dir():
        raise OrchestraError(f"{path}: there is no directory {path.parent}")
    if "data-dir" in session.given:
        return await _save_offline(session, path)
    from orchestra.cluster.backup import BackupWriter

    # Asked for before a file is made: a master that does not answer leaves none.
    parts = session.client.snapshot()
    writer: BackupWriter | None = None
    try:
        async for part in parts:
            if writer is None:
                writer = BackupWriter(path)
            await asyncio.to_thread(writer.write, part)
        if writer is None:
            raise OrchestraError("the master has sent nothing: try again, or another master with --server")
        info = await asyncio.to_thread(writer.commit)
    except BaseException:
        if writer is not None:
            writer.abort()
        raise
    finally:
        await parts.aclose()
    if not session.options.output:
        session.say(f"Snapshot saved at {path}")
    _tell(session, info)
    return 0


async def _save_offline(session: Session, path: Path) -> int:
    """From the data directory of a master that does not run."""
    if not session.options.data_dir:
        raise UsageError("--data-dir names no directory")
    from orchestra.cluster.salvage import save_offline

    saved = await asyncio.to_thread(save_offline, Path(session.options.data_dir), path)
    info, uncommitted = saved.info, saved.uncommitted
    if not session.options.output:
        session.say(f"Snapshot saved at {path}")
        session.say(f"It holds the log of {saved.name} up to term {info.term}, index {info.index}")
        said = "All of its entries are known to be committed"
        if uncommitted:
            said = (
                f"Entries at its end that are not known to be committed: {uncommitted}; they are saved too, "
                "since they may have been acknowledged"
            )
        session.say(said)
    _tell(session, info, {"member": saved.name, "uncommitted": uncommitted})
    return 0


async def _status(session: Session) -> int:
    path = _file(session)
    _form(session)
    from orchestra.cluster.backup import check_backup

    _tell(session, check_backup(path))
    return 0


async def _restore(session: Session) -> int:
    path, options = _file(session), session.options
    _form(session)
    if not options.data_dir:
        raise UsageError(
            "--data-dir is required: where the restored master is to keep its store, a new directory"
        )
    from orchestra.cluster.backup import check_backup, restore_backup
    from orchestra.storage.disk import SystemDisk

    bootstrap = _bootstrap(session, check_backup(path).hash)
    info = restore_backup(SystemDisk(), path, Path(options.data_dir), bootstrap)
    if not options.output:
        session.say(
            f"Snapshot restored to {options.data_dir}, as member {bootstrap.member_id:016x} "
            f"({bootstrap.name}) of the new cluster {bootstrap.cluster_id}"
        )
    _tell(session, info)
    if not options.output:
        others = [name for name in _names(session) if name != bootstrap.name]
        for name in others:
            session.say(f"Do the same, with the same file, for {name}")
        session.say(
            f"Start it with:\n  orchestra master --name {bootstrap.name} --data-dir {options.data_dir}"
            + (f" --initial-cluster {','.join(options.initial_cluster)}" if others else "")
        )
    return 0


def _names(session: Session) -> list[str]:
    return [word.partition("=")[0] for word in session.options.initial_cluster]


def _bootstrap(session: Session, content: str) -> "Bootstrap":
    """The cluster that begins with what the file holds: never the one that it was saved from."""
    options = session.options
    from orchestra.cli.masters.settings import initial_cluster
    from orchestra.cluster.bootstrap import alone, together

    members = initial_cluster(options.initial_cluster)
    if not members:
        return alone(options.name)
    if options.name not in members:
        raise UsageError(
            f"--initial-cluster names {', '.join(members)}, not the master to restore: --name={options.name}"
        )
    token = options.initial_cluster_token or content
    return together({name: (address,) for name, address in members.items()}, options.name, token)


COMMANDS = (
    Command(
        "snapshot",
        "Save the whole store to a file, look at such a file, and begin a new cluster from it.",
        "SUBCOMMAND [options]",
        examples="""
        # Everything that the cluster knows, in one file
        orchestra snapshot save backup.snapshot
        # After all was lost: a new master that knows it again
        orchestra snapshot restore backup.snapshot --data-dir /var/lib/orchestra
        orchestra master --data-dir /var/lib/orchestra
        """,
        commands=(
            Command("snapshot restore",
                    "Make a data directory of a new cluster that holds what a file does.",
                    "FILE --data-dir=DIR [--name=NAME] [--initial-cluster=m1=HOST:PORT,...]",
                    (Flag("data-dir", "A new directory, for `orchestra master --data-dir`."),
                     Flag("initial-cluster",
                          "All masters of the new cluster with their peer addresses (m1=HOST:PORT,...): each "
                          "restores the same file with the same list. Without it, it is one master.",
                          shape="list"),
                     Flag("initial-cluster-token",
                          "Another one for each cluster restored from the same file with the same list."),
                     Flag("name", "The master's name.", default="m1"), NO_HEADERS, _OUTPUT),
                    "orchestra snapshot restore backup.snapshot --data-dir ./restored", _restore),
            Command("snapshot save",
                    "Save the store of a running cluster, or that of a master that does not run, to a file.",
                    "FILE [--data-dir=DIR]",
                    (Flag("data-dir",
                          "The data directory of a master that does not run, to be read and not changed: for "
                          "when the majority of masters is lost for good."),
                     NO_HEADERS, _OUTPUT),
                    """
                    orchestra snapshot save backup.snapshot
                    # Two of three masters are lost with their disks: all that the third has, also what it
                    # does not know to be committed. Of several such files, restore the one with the highest
                    # term, of these the one with the highest index.
                    orchestra snapshot save backup.snapshot --data-dir /var/lib/orchestra
                    """, _save),
            Command("snapshot status", "Check a file, and show what it holds.", "FILE", (NO_HEADERS, _OUTPUT),
                    "orchestra snapshot status backup.snapshot -o json", _status),
        ),
    ),
)  # fmt: skip
