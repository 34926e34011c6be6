"""Fixtures of the controllers' tests."""

from collections.abc import AsyncIterator

import pytest

from orchestra.controllers.settings import ControllerSettings
from tests.unit.controllers.cluster import World


@pytest.fixture
def settings() -> ControllerSettings:
    return ControllerSettings(
        node_eviction_grace_ms=50, startup_grace_ms=200, disrupted_eviction_interval_ms=400
    )


@pytest.fixture
async def world(settings: ControllerSettings) -> AsyncIterator[World]:
    """A cluster of three ready nodes."""
    made = World(settings)
    await made.start()
    for name in ("n1", "n2", "n3"):
        await made.add_node(name)
    yield made
    assert not [c.name for c in made.group.controllers if c.errors], "a reconcile failed"
    await made.stop()
