"""sig-node: what a container is told, what it says, how it ends, and what comes before it."""

import asyncio
from typing import Any

import pytest

from orchestra.objects.kinds import EVENT, POD
from tests.conformance.place import (
    SLEEP,
    Place,
    container,
    is_over,
    is_running,
    is_true,
    pod,
    shell,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def once(*containers: Any, **spec: Any) -> Any:
    """A pod that runs to its end."""
    return pod("p", *containers, restartPolicy="Never", **spec)


def field(name: str, path: str) -> Any:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def resource(name: str, which: str, divisor: str = "0") -> Any:
    source = {"resource": which, "divisor": divisor}
    return {"name": name, "valueFrom": {"resourceFieldRef": source}}


async def environment(place: Place, *env: Any, **fields: Any) -> dict[str, str]:
    """What a container that is given these variables sees."""
    said = await place.output(once(container("env", env=list(env), **fields)))
    return dict(line.partition("=")[::2] for line in said.splitlines())


# -- command, arguments, environment ---------------------------------------------------------------------------


async def test_override_image_command(place: Place) -> None:
    """override image command"""
    assert await place.output(once(container("echo", "the", "command"))) == "the command\n"


async def test_override_command_and_arguments(place: Place) -> None:
    """override command and arguments"""
    assert await place.output(once(container("echo", "one", args=["two", "three"]))) == "one two three\n"


async def test_downward_env_limits_and_requests(place: Place) -> None:
    """downward env: limits and requests"""
    resources = {
        "requests": {"cpu": "250m", "memory": "32Mi"},
        "limits": {"cpu": "1250m", "memory": "64Mi"},
    }
    seen = await environment(
        place,
        resource("CPU_LIMIT", "limits.cpu"),
        resource("CPU_LIMIT_MILLI", "limits.cpu", "1m"),
        resource("MEMORY_LIMIT", "limits.memory"),
        resource("CPU_REQUEST_MILLI", "requests.cpu", "1m"),
        resource("MEMORY_REQUEST_MI", "requests.memory", "1Mi"),
        resources=resources,
    )
    assert (seen["CPU_LIMIT"], seen["CPU_LIMIT_MILLI"]) == ("2", "1250")
    assert (seen["MEMORY_LIMIT"], seen["MEMORY_REQUEST_MI"]) == ("67108864", "32")
    assert seen["CPU_REQUEST_MILLI"] == "250"


async def test_downward_env_default_limits(place: Place) -> None:
    """downward env: default limits from node allocatable"""
    seen = await environment(place, resource("CPU", "limits.cpu"), resource("MEMORY", "limits.memory"))
    assert seen["CPU"] == "4"
    assert seen["MEMORY"] == str(4 << 30)


async def test_downward_env_host_ip(place: Place) -> None:
    """downward env: host IP"""
    seen = await environment(place, field("HOST_IP", "status.hostIP"))
    assert seen["HOST_IP"] == (await place.get(POD, "p")).status.hostIP != ""


async def test_downward_env_host_ips(place: Place) -> None:
    """downward env: host IPs"""
    seen = await environment(place, field("HOST_IPS", "status.hostIPs"))
    found = await place.get(POD, "p")
    assert seen["HOST_IPS"] == ",".join(each.ip for each in found.status.hostIPs) != ""


async def test_downward_env_pod_uid(place: Place) -> None:
    """downward env: pod UID"""
    seen = await environment(place, field("UID_OF_POD", "metadata.uid"))
    assert seen["UID_OF_POD"] == (await place.get(POD, "p")).metadata.uid


async def test_downward_env_name_namespace_ip(place: Place) -> None:
    """downward env: name, namespace, IP"""
    seen = await environment(
        place,
        field("NAME", "metadata.name"),
        field("NAMESPACE", "metadata.namespace"),
        field("IP", "status.podIP"),
    )
    found = await place.get(POD, "p")
    assert (seen["NAME"], seen["NAMESPACE"]) == ("p", place.namespace)
    assert seen["IP"] == found.status.podIP != ""


async def test_expansion_env_from_env(place: Place) -> None:
    """expansion: env from env"""
    seen = await environment(
        place,
        {"name": "FOO", "value": "foo-value"},
        {"name": "BAR", "value": "bar-value"},
        {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
        {"name": "ESCAPED", "value": "$$(FOO)"},
        {"name": "UNKNOWN", "value": "$(LATER)"},
        {"name": "LATER", "value": "x"},
    )
    assert seen["FOOBAR"] == "foo-value;;bar-value"
    assert (seen["ESCAPED"], seen["UNKNOWN"]) == ("$(FOO)", "$(LATER)")


async def test_expansion_args(place: Place) -> None:
    """expansion: args"""
    env = [{"name": "TEST_VAR", "value": "test-value"}]
    said = await place.output(once(container("echo", args=["$(TEST_VAR)", "$$(TEST_VAR)"], env=env)))
    assert said == "test-value $(TEST_VAR)\n"


async def test_expansion_command(place: Place) -> None:
    """expansion: command"""
    env = [{"name": "TEST_VAR", "value": "test-value"}]
    said = await place.output(once(container("/bin/sh", "-c", "echo $(TEST_VAR)", env=env)))
    assert said == "test-value\n"


async def waits_for_its_config(place: Place, pod_name: str) -> None:
    """The mount cannot be made, so that the container never runs, and the pod waits."""
    mounts = [{"name": "work", "mountPath": "/tmp/work", "subPathExpr": "$(POD_NAME)"}]
    env = [{"name": "POD_NAME", "value": pod_name}]
    volumes = [{"name": "work", "emptyDir": {}}]
    await place.create(pod("p", container(*SLEEP, env=env, volumeMounts=mounts), volumes=volumes))

    def refused(found: Any) -> bool:
        reasons = [status.state.waiting.reason for status in found.status.containerStatuses]
        return reasons == ["CreateContainerConfigError"]

    waits = await place.until(POD, "p", refused)
    assert (waits.status.phase, waits.status.containerStatuses[0].restartCount) == ("Pending", 0)


async def test_expansion_absolute_subpath_fails(place: Place) -> None:
    """expansion: absolute subpath fails"""
    await waits_for_its_config(place, "/tmp")


async def test_expansion_backticks_fail(place: Place) -> None:
    """expansion: backticks fail"""
    await waits_for_its_config(place, "..")


# -- logs and ends ---------------------------------------------------------------------------------------------


async def test_output_goes_to_logs(place: Place) -> None:
    """output goes to logs"""
    said = await place.output(once(shell("echo to stdout; echo to stderr >&2")))
    assert sorted(said.splitlines()) == ["to stderr", "to stdout"]


async def test_failed_container_has_a_terminated_reason(place: Place) -> None:
    """failed container has a terminated reason"""
    await place.create(pod("p", container("/bin/false")))

    def ended(found: Any) -> bool:
        return any(
            s.state.HasField("terminated") or s.lastState.HasField("terminated")
            for s in found.status.containerStatuses
        )

    status = (await place.until(POD, "p", ended)).status.containerStatuses[0]
    found = status.state.terminated if status.state.HasField("terminated") else status.lastState.terminated
    assert (found.reason, found.exitCode) == ("Error", 1)


async def test_exit_status_and_restart_policy(place: Place) -> None:
    """exit status and restart policy"""
    # Ends badly twice and well the third time, remembered in a file of the pod's own.
    script = 'echo x >>"$VOLUME_WORK"/count; [ $(wc -l <"$VOLUME_WORK"/count) -ge 3 ] && exit {last}; exit 1'
    mounts = [{"name": "work", "mountPath": "/tmp/work"}]

    def program(policy: str, last: str) -> Any:
        return pod(
            policy.lower(),
            shell(script.replace("{last}", last), volumeMounts=mounts),
            restartPolicy=policy,
            volumes=[{"name": "work", "emptyDir": {}}],
        )

    script_of_always = program("Always", "0; sleep infinity")
    script_of_always["spec"]["containers"][0]["command"][2] = (
        'echo x >>"$VOLUME_WORK"/count; [ $(wc -l <"$VOLUME_WORK"/count) -ge 3 ] && exec sleep infinity; exit 1'
    )
    await place.create_all(script_of_always, program("OnFailure", "0"), program("Never", "1"))
    always, on_failure, never = await asyncio.gather(
        place.until(
            POD, "always", lambda p: is_true(p, "Ready") and p.status.containerStatuses[0].restartCount == 2
        ),
        place.until(POD, "onfailure", is_over),
        place.until(POD, "never", is_over),
    )

    def seen(found: Any) -> tuple[str, bool, int]:
        status = found.status.containerStatuses[0]
        return found.status.phase, status.ready, status.restartCount

    assert seen(always) == ("Running", True, 2)
    assert always.status.containerStatuses[0].state.HasField("running")
    assert seen(on_failure) == ("Succeeded", False, 2)
    assert on_failure.status.containerStatuses[0].state.terminated.reason == "Completed"
    assert seen(never) == ("Failed", False, 0)
    assert never.status.containerStatuses[0].state.terminated.exitCode == 1


def terminated(found: Any) -> Any:
    return found.status.containerStatuses[0].state.terminated


async def test_termination_message_empty_on_success(place: Place) -> None:
    """termination message: empty on success with FallbackToLogsOnError"""
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    await place.create(once(shell("echo DONE", **policy)))
    found = await place.until(POD, "p", is_over)
    assert (found.status.phase, terminated(found).message) == ("Succeeded", "")


async def test_termination_message_from_log_on_error(place: Place) -> None:
    """termination message: from log on error"""
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    await place.create(once(shell("echo -n DONE; exit 1", **policy)))
    found = await place.until(POD, "p", is_over)
    assert (found.status.phase, terminated(found).message) == ("Failed", "DONE")


async def test_read_only_root_filesystem_false(place: Place) -> None:
    """readOnlyRootFilesystem=false"""
    script = "f=$(mktemp) && echo written >$f && cat $f && rm $f"
    context = {"readOnlyRootFilesystem": False}
    assert await place.output(once(shell(script, securityContext=context))) == "written\n"


# -- init containers -------------------------------------------------------------------------------------------


def inits_ended(found: Any) -> list[int]:
    return [
        s.state.terminated.exitCode
        for s in found.status.initContainerStatuses
        if s.state.HasField("terminated")
    ]


async def test_init_containers_restart_always(place: Place) -> None:
    """init containers, RestartAlways"""
    inits = [shell("true", name="init1"), shell("true", name="init2")]
    await place.create(pod("p", initContainers=inits))
    found = await place.until(POD, "p", is_running)
    assert inits_ended(found) == [0, 0]
    assert all(s.ready for s in found.status.initContainerStatuses)
    assert is_true(found, "Initialized")
    first, second = (s.state.terminated for s in found.status.initContainerStatuses)
    main = found.status.containerStatuses[0].state.running
    assert first.finishedAt.seconds <= second.startedAt.seconds
    assert second.finishedAt.seconds <= main.startedAt.seconds


async def test_init_containers_restart_never(place: Place) -> None:
    """init containers, RestartNever"""
    inits = [shell("true", name="init1"), shell("true", name="init2")]
    await place.create(once(shell("true"), initContainers=inits))
    found = await place.until(POD, "p", is_over)
    assert (found.status.phase, inits_ended(found)) == ("Succeeded", [0, 0])
    assert is_true(found, "Initialized")


async def test_init_failure_restart_never(place: Place) -> None:
    """init failure, RestartNever"""
    inits = [shell("true", name="init1"), shell("false", name="init2")]
    await place.create(once(shell("echo never"), initContainers=inits))
    states = await place.history(POD, "p", is_over)
    found = states[-1]
    assert (found.status.phase, inits_ended(found)) == ("Failed", [0, 1])
    assert not is_true(found, "Initialized")
    assert not any(
        s.containerStatuses and s.containerStatuses[0].state.HasField("running")
        for s in (x.status for x in states)
    )
    assert found.status.containerStatuses[0].state.waiting.reason == "PodInitializing"


async def test_init_failure_restart_always(place: Place) -> None:
    """init failure, RestartAlways"""
    inits = [shell("false", name="init1"), shell("true", name="init2")]
    await place.create(pod("p", initContainers=inits))

    def retried(found: Any) -> bool:
        return any(s.restartCount >= 3 for s in found.status.initContainerStatuses)

    states = await place.history(POD, "p", retried)
    assert {state.status.phase for state in states} == {"Pending"}
    found = states[-1]
    assert not is_true(found, "Initialized")
    assert found.status.initContainerStatuses[1].state.waiting.reason == "PodInitializing"
    assert found.status.containerStatuses[0].state.waiting.reason == "PodInitializing"
    backed_off = await place.until_all(EVENT, lambda events: any(e.reason == "BackOff" for e in events))
    assert backed_off
