"""What several of the tests on real processes start from."""

from collections.abc import Iterator

import pytest

from tests.integration.etcd_server import EtcdServer


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A lone etcd with its own default limits, for the tests of one module."""
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.kill()
