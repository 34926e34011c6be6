"""EndpointSlices on a small cluster."""

from orchestra.controllers.endpoints import BY_SERVICE
from orchestra.objects import intstr
from orchestra.objects.kinds import ENDPOINT_SLICE, POD, REPLICA_SET, SERVICE
from orchestra.pb import core, discovery, meta
from tests.unit.controllers.cluster import World, replica_set, set_ready


def service() -> core.Service:
    made = core.Service(metadata=meta.ObjectMeta(name="web", namespace="default"))
    made.spec.selector["app"] = "web"
    made.spec.ports.add(port=80, protocol="TCP").targetPort.CopyFrom(intstr.of("http"))
    return made


def slices(world: World) -> list[discovery.EndpointSlice]:
    return world.informers.of(ENDPOINT_SLICE).by_index(BY_SERVICE, "default/web")


def endpoints(world: World, *, ready: bool = True) -> set[str]:
    return {e.targetRef.name for s in slices(world) for e in s.endpoints if e.conditions.ready is ready}


async def test_follow_the_pods(world: World) -> None:
    await world.objects.create(service())
    await world.until_all(lambda: len(slices(world)) == 1, "the empty slice")
    assert not slices(world)[0].endpoints
    await world.objects.create(replica_set("web", 3))
    await world.until_all(lambda: len(endpoints(world)) == 3, "three endpoints")
    pods = {p.metadata.name: p for p in world.active(app="web")}
    for found in slices(world):
        for endpoint in found.endpoints:
            status = pods[endpoint.targetRef.name].status
            assert [p.port for p in found.ports] == [status.containerStatuses[0].ports[0].hostPort]
            assert list(endpoint.addresses) == [status.podIP]
    name = sorted(pods)[0]

    def fail(pod: core.Pod) -> None:
        set_ready(pod, False, world.clock.wall_ns())

    await world.objects.mutate(POD, "default", name, fail, subresource="status")
    await world.until_all(lambda: endpoints(world, ready=False) == {name}, "not ready")
    before = await world.settle()
    assert await world.settle() == before


async def test_a_deleted_pod_is_dropped_before_it_is_gone(world: World) -> None:
    await world.objects.create(service())
    await world.objects.create(replica_set("web", 2))
    await world.until_all(lambda: len(endpoints(world)) == 2, "two endpoints")
    world.dead.update(("n1", "n2", "n3"))
    victim = world.active(app="web")[0].metadata.name
    await world.objects.delete(POD, "default", victim)
    await world.until_all(lambda: victim in endpoints(world, ready=False), "terminating")
    [endpoint] = [e for s in slices(world) for e in s.endpoints if e.targetRef.name == victim]
    assert (endpoint.conditions.serving, endpoint.conditions.terminating) == (True, True)


async def test_slices_go_with_the_service(world: World) -> None:
    await world.objects.create(service())
    await world.objects.create(replica_set("web", 2))
    await world.until_all(lambda: len(endpoints(world)) == 2, "two endpoints")
    await world.objects.delete(SERVICE, "default", "web")
    await world.until_all(lambda: not slices(world), "no slices")
    await world.objects.delete(REPLICA_SET, "default", "web")


async def test_a_slice_by_hand_is_left_alone_and_one_that_was_spoilt_is_mended(world: World) -> None:
    by_hand = discovery.EndpointSlice(metadata=meta.ObjectMeta(name="by-hand", namespace="default"))
    by_hand.metadata.labels["kubernetes.io/service-name"] = "web"
    by_hand.addressType = "IPv4"
    await world.objects.create(by_hand)
    await world.objects.create(service())
    await world.objects.create(replica_set("web", 1))
    await world.until_all(lambda: len(endpoints(world)) == 1, "one endpoint")
    [ours] = [s for s in slices(world) if s.metadata.name != "by-hand"]

    def spoil(live: discovery.EndpointSlice) -> None:
        del live.endpoints[:]

    await world.objects.mutate(ENDPOINT_SLICE, "default", ours.metadata.name, spoil)
    await world.until_all(lambda: not endpoints(world), "spoilt")
    await world.until_all(lambda: len(endpoints(world)) == 1, "mended")
    assert len(slices(world)) == 2
