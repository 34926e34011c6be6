"""Keeping the agent small: it shares a Raspberry Pi with what it runs."""

import ctypes
import gc

_M_ARENA_MAX = -8
_M_TRIM_THRESHOLD = -1
_TRIM_BYTES = 1 << 20


def bound_arenas() -> None:
    """One malloc arena for gRPC's threads instead of one each. Only glibc has the knob; others need none."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


def settle() -> None:
    """Gives back what starting took, and takes what is there for ever out of the collector's rounds."""
    gc.collect()
    gc.freeze()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
