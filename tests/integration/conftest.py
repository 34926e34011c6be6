"""What several of the tests on real processes start from."""

import signal
from collections.abc import Iterator

import pytest

from tests.integration.etcd_server import EtcdServer

# A shell starts what is to run in the background with SIGINT ignored, and every program started here would
# inherit that: a test that interrupts one would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A lone etcd with its own default limits, for the tests of one module."""
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.kill()
