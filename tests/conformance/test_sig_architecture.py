"""sig-architecture."""

import pytest

from orchestra.objects.kinds import NODE
from tests.conformance.place import Place, is_ready

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_at_least_two_untainted_nodes(place: Place) -> None:
    """At least two untainted nodes"""
    nodes = (await place.client.list(NODE)).items
    schedulable = [n for n in nodes if is_ready(n) and not n.spec.taints and not n.spec.unschedulable]
    assert len(schedulable) >= 2
