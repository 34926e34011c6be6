"""This machine: what it has, what it is, and what it uses now. Reads /proc and /sys; starts nothing."""

import contextlib
import os
import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orchestra
from orchestra.objects.quantity import quantity_of_bytes
from orchestra.pb import core, meta

_PODS_DEFAULT = 110
_LABEL_MAX = 63
# As Go and Kubernetes name architectures.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386"}


def _read(path: str, default: str = "") -> str:
    try:
        return Path(path).read_text(errors="replace").strip().strip("\0")
    except OSError:
        return default


def model() -> str:
    """What board this is (`Raspberry Pi 4 Model B Rev 1.4`), "" where the firmware does not say."""
    return _read("/proc/device-tree/model") or _read("/sys/firmware/devicetree/base/model")


def label_value(text: str) -> str:
    """Text made to fit a label's value."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in text)
    return kept[:_LABEL_MAX].strip("-_.")


def memory_bytes() -> int:
    """All of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cpu_count() -> int:
    """The processors this agent may use."""
    return len(os.sched_getaffinity(0))


def capacity(overrides: Mapping[str, str], data_dir: Path) -> dict[str, str]:
    """What the node has to give, as quantities."""
    disk = os.statvfs(data_dir)
    found = {
        "cpu": str(cpu_count()),
        "memory": str(quantity_of_bytes(memory_bytes() // 1024 * 1024)),
        "ephemeral-storage": str(quantity_of_bytes(disk.f_blocks * disk.f_frsize // 1024 * 1024)),
        "pods": str(_PODS_DEFAULT),
    }
    return {**found, **overrides}


def quantities(amounts: Mapping[str, str]) -> dict[str, meta.Quantity]:
    """The same as messages."""
    return {name: meta.Quantity(string=text) for name, text in amounts.items()}


def labels(name: str, isolation: str, given: Mapping[str, str]) -> dict[str, str]:
    """The labels a node says of itself."""
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    found = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "orchestra.dev/runtime": isolation,
    }
    if board := label_value(model()):
        found["orchestra.dev/model"] = board
    return {**found, **given}


def address_towards(masters: Sequence[str]) -> str:
    """This machine's address on the way to a master, `127.0.0.1` when none can be reached.

    Nothing is sent: connecting a datagram socket only asks the routing table.
    """
    for master in masters:
        host, _, port = master.rpartition(":")
        with (
            contextlib.suppress(OSError, ValueError),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked,
        ):
            asked.connect((host, int(port)))
            found: str = asked.getsockname()[0]
            return found
    return "127.0.0.1"


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip("\"'")
    return "Linux"


def system_info(isolation: str) -> core.NodeSystemInfo:
    """What the machine is."""
    board = model()
    image = _os_image()
    return core.NodeSystemInfo(
        machineID=_read("/etc/machine-id") or _read("/var/lib/dbus/machine-id"),
        systemUUID=_read("/sys/class/dmi/id/product_uuid") or _read("/proc/device-tree/serial-number"),
        bootID=_read("/proc/sys/kernel/random/boot_id"),
        kernelVersion=platform.release(),
        osImage=f"{image} ({board})" if board else image,
        containerRuntimeVersion=f"orchestra-{isolation}://{orchestra.__version__}",
        kubeletVersion=f"v{orchestra.__version__}",
        kubeProxyVersion=f"v{orchestra.__version__}",
        operatingSystem="linux",
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
    )


@dataclass(frozen=True, slots=True)
class Load:
    """Measured over the whole machine."""

    cpu_millis: int
    memory_bytes: int
    disk_free_bytes: int


class LoadMeter:
    """Reads what the machine uses. The processors' part is the mean since the reading before."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._busy, self._total = self._ticks()

    @staticmethod
    def _ticks() -> tuple[int, int]:
        fields = [int(word) for word in _read("/proc/stat").partition("\n")[0].split()[1:9]]
        if len(fields) < 5:
            return 0, 0
        idle = fields[3] + fields[4]
        return sum(fields) - idle, sum(fields)

    def read(self) -> Load:
        """Now. Bound: three small reads."""
        busy, total = self._ticks()
        share = (busy - self._busy) / (total - self._total) if total > self._total else 0.0
        self._busy, self._total = busy, total
        memory = {}
        for line in _read("/proc/meminfo").splitlines()[:5]:
            name, _, rest = line.partition(":")
            memory[name] = int(rest.split()[0]) * 1024
        disk = os.statvfs(self._data_dir)
        return Load(
            int(share * 1000 * (os.cpu_count() or 1)),
            memory.get("MemTotal", 0) - memory.get("MemAvailable", 0),
            disk.f_bavail * disk.f_frsize,
        )
