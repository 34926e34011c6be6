"""The real machine in memory, with typed objects on it."""

import random

import pytest

from orchestra.base.clock import ManualClock
from orchestra.store.memory import MemoryStore
from orchestra.store.objects import ObjectStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
async def objects(store: MemoryStore, clock: ManualClock) -> ObjectStore:
    made = ObjectStore(store, clock=clock, rng=random.Random(7))
    await made.ensure_namespaces()
    return made
