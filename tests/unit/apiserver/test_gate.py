"""The agents' door while nobody leads."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestra.apiserver import gate as gates
from orchestra.apiserver.gate import AgentsGate
from orchestra.pb import agent_v1_pb2 as agent
from orchestra.store.contract import StoreUnavailable


class _Context:
    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


async def _register() -> AsyncIterator[agent.AgentMessage]:
    yield agent.AgentMessage(register=agent.Register(name="n1"))


async def test_that_the_store_has_ended_is_heard_once_by_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "HOLD_SECONDS", 0.05)
    asked = []

    async def changed() -> None:
        asked.append(1)
        raise StoreUnavailable("the store has ended")

    context: Any = _Context()
    gate = AgentsGate("m1", lambda: None, changed)
    (answer,) = [each async for each in gate.Session(_register(), context)]
    assert answer.refused.retry_after_ms == gates.RETRY_MS
    assert len(asked) == 1
