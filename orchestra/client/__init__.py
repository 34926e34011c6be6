"""The public Python client: Orchestra's API on asyncio, with the API's own objects and errors.

    import asyncio
    from orchestra.client import Client

    async def main() -> None:
        async with Client("127.0.0.1:7070") as client:
            for pod in (await client.list("pods", "default", labels="app=web")).items:
                print(pod.metadata.name, pod.status.phase)
            async for event in client.watch("pods", "default"):
                print(event.type, event.obj.metadata.name, event.obj.status.phase)

    asyncio.run(main())

Objects are the generated messages of `orchestra.pb` (`core.Pod`, `apps.Deployment`); kinds are given by a
word ("pods", "deploy", "ReplicaSet") or as `orchestra.objects.kinds.Kind`; whatever fails raises an
`orchestra.base.errors.ApiError`.

Knows the wire, addresses, deadlines and reconnects. Must know nothing of the store, the controllers or the
agent: what other programs can do, and only that, is what the command line and the agents can do.
"""

from orchestra.client.client import Client
from orchestra.client.types import ObjectList, WatchEvent

__all__ = ("Client", "ObjectList", "WatchEvent")
