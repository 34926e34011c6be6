"""What goes when its owner goes, and in which order."""

from orchestra.objects.kinds import DEPLOYMENT, NAMESPACE, POD, REPLICA_SET, SERVICE
from orchestra.pb import meta
from tests.simulation.cluster import builders
from tests.simulation.cluster.scenes import play, pods, wants
from tests.simulation.cluster.state import is_deleting
from tests.simulation.cluster.world import World


def _delete(policy: str) -> meta.DeleteOptions:
    return meta.DeleteOptions(propagationPolicy=policy)


def test_in_the_foreground_the_owner_goes_last() -> None:
    async def story(world: World) -> None:
        await world.user.create(builders.deployment("web", 4, deaf="true"))
        await world.converge()
        await world.user.delete(DEPLOYMENT, "default", "web", _delete("Foreground"))
        while world.state.get(DEPLOYMENT, "default", "web") is not None:
            assert world.state.of(REPLICA_SET) or not world.state.of(POD)
            await world.sleep(0.01)
        assert not world.state.of(POD)
        assert not world.state.of(REPLICA_SET)

    play(story)


def test_in_the_background_the_owner_goes_first() -> None:
    async def story(world: World) -> None:
        await world.user.create(builders.deployment("web", 4, deaf="true"))
        await world.converge()
        await world.user.delete(DEPLOYMENT, "default", "web", _delete("Background"))
        await world.sleep(0.2)
        assert not world.state.of(DEPLOYMENT)
        assert len(world.state.of(POD)) == 4
        assert all(is_deleting(pod) for pod in world.state.of(POD))
        await world.converge()
        assert not world.state.of(POD)

    play(story)


def test_orphans_stay_and_are_adopted_by_who_matches_them() -> None:
    async def story(world: World) -> None:
        await world.user.create(builders.deployment("web", 3))
        await world.converge()
        before = {pod.metadata.uid for pod in pods(world, "web")}
        await world.user.delete(DEPLOYMENT, "default", "web", _delete("Orphan"))
        await world.converge()
        assert not world.state.of(DEPLOYMENT)
        await world.stay_quiet(60.0)
        await world.user.create(builders.deployment("web", 3))
        await world.converge()
        assert {pod.metadata.uid for pod in pods(world, "web")} == before
        assert len(world.state.of(REPLICA_SET)) == 1

    play(story)


def test_a_namespace_takes_all_it_holds_with_it_though_a_node_is_dark() -> None:
    async def story(world: World) -> None:
        await world.user.create(builders.namespace("blue"))
        await world.user.create(builders.deployment("web", 6, namespace="blue"))
        await world.user.create(builders.service("web", "blue", node_port=True))
        await world.user.create(builders.replication_controller("r", 2, "blue"))
        await world.converge()
        await world.nodes["n1"].lose_power(silently=True)
        await world.user.delete(NAMESPACE, "", "blue")
        gone = wants(lambda: world.state.get(NAMESPACE, "", "blue") is None, "there")
        await world.until(gone, 20.0)
        for kind in (DEPLOYMENT, REPLICA_SET, POD, SERVICE):
            assert not world.state.of(kind)
        world.nodes["n1"].start_agent()
        await world.converge()

    play(story)


def test_idle_hours_end_with_no_events_and_no_other_write() -> None:
    async def story(world: World) -> None:
        await world.user.create(builders.deployment("web", 5))
        await world.converge()
        await world.stay_quiet(3 * 3600.0)
        (master,) = world.masters.up()
        assert master.member is not None
        leases = master.member.machine.leases
        assert not leases, "what was told an hour ago is forgotten"

    play(story, seeds=range(1, 2))
