"""The verbs against a real API server over a store in memory, typed as a person types them."""

import asyncio
import io
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from orchestra.cli.main import run
from orchestra.objects.kinds import DEPLOYMENT, EVENT, NODE, POD, REPLICA_SET
from orchestra.pb import apps, core
from tests.integration.api_master import Master, serving

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: {kubernetes.io/change-cause: first}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, command: [sleep, "1"]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80}]
"""


class Screen(io.StringIO):
    """An output that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._written = asyncio.Event()

    def write(self, text: str) -> int:
        self._written.set()
        return super().write(text)

    async def until(self, text: str) -> None:
        """Returns when the text is there."""
        async with asyncio.timeout(10):
            while text not in self.getvalue():
                self._written.clear()
                await self._written.wait()


@dataclass(slots=True)
class Shell:
    """A person's shell: types lines, reads answers."""

    master: Master
    folder: Path

    async def __call__(self, line: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        words = [*shlex.split(line), "--server", self.master.address]
        if "--" in words:
            at = words.index("--")
            words = [*words[:at], *words[-2:], *words[at:-2]]
        code = await run(words, out=out, err=err)
        return code, out.getvalue(), err.getvalue()

    async def good(self, line: str) -> str:
        code, out, err = await self(line)
        assert (code, err) == (0, ""), (line, err)
        return out

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def editor(self, *commands: str) -> str:
        """An EDITOR that runs one sed command on each opening."""
        cases = "".join(
            f'{at}) sed -i {shlex.quote(command)} "$1" ;;\n' for at, command in enumerate(commands, 1)
        )
        count = 'n=$(cat "$0.count" 2>/dev/null || echo 0); n=$((n + 1)); echo $n > "$0.count"'
        path = self.file("editor.sh", f'#!/bin/sh\n{count}\ncp "$1" "$0.seen.$n"\ncase $n in\n{cases}esac\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)


@pytest.fixture
async def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shell]:
    monkeypatch.setenv("ORCHESTRA_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.delenv("ORCHESTRA_SERVER", raising=False)
    for name in ("ORCHESTRA_EDITOR", "KUBE_EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    async with serving() as master:
        yield Shell(master, tmp_path)


async def make_revision(shell: Shell, revision: int, command: str, cause: str = "") -> None:
    """A replica set of the deployment, as the controller would have made it."""
    deployment = await shell.master.client.get(DEPLOYMENT, "default", "web")
    made = apps.ReplicaSet()
    made.metadata.name, made.metadata.namespace = f"web-{revision}", "default"
    made.metadata.labels.update({"app": "web", "pod-template-hash": str(revision)})
    made.metadata.annotations["deployment.kubernetes.io/revision"] = str(revision)
    if cause:
        made.metadata.annotations["kubernetes.io/change-cause"] = cause
    made.metadata.ownerReferences.add(
        apiVersion="apps/v1", kind="Deployment", name="web", uid=deployment.metadata.uid, controller=True
    )
    made.spec.replicas = 0
    made.spec.selector.matchLabels.update(made.metadata.labels)
    made.spec.template.CopyFrom(deployment.spec.template)
    made.spec.template.metadata.labels["pod-template-hash"] = str(revision)
    made.spec.template.spec.containers[0].command[:] = ["sleep", command]
    await shell.master.client.create(made)


async def test_apply_get_scale_delete(shell: Shell) -> None:
    path = shell.file("web.yaml", WEB)
    assert await shell.good(f"apply -f {path} --dry-run=server") == (
        "deployment.apps/web created (server dry run)\nservice/web created (server dry run)\n"
    )
    assert (await shell("get all"))[2] == "No resources found in default namespace.\n"
    assert await shell.good(f"apply -f {path}") == "deployment.apps/web created\nservice/web created\n"
    assert await shell.good(f"apply -f {path}") == "deployment.apps/web unchanged\nservice/web unchanged\n"
    path.write_text(WEB.replace("replicas: 3", "replicas: 4"))
    assert await shell.good(f"apply -f {path}") == "deployment.apps/web configured\nservice/web unchanged\n"

    lines = (await shell.good("get deploy,svc")).split("\n")
    assert lines[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert lines[1].split()[:2] == ["deployment.apps/web", "0/4"]
    assert lines[2] == ""
    assert lines[4].split()[:2] == ["service/web", "ClusterIP"]

    assert await shell.good("scale deploy/web --replicas=6") == "deployment.apps/web scaled\n"
    assert await shell.good("get deploy web -o jsonpath={.spec.replicas}") == "6"
    assert await shell("scale deploy web --replicas=2 --current-replicas=3") == (
        1, "", "error: Expected replicas to be 3, was 6\n"
    )  # fmt: skip
    assert (
        await shell.good("scale --replicas=1 deploy web --dry-run=server -o name") == "deployment.apps/web\n"
    )
    assert await shell.good("get deploy web -o jsonpath={.spec.replicas}") == "6"

    assert yaml.safe_load(await shell.good("get deploy -o yaml"))["kind"] == "List"
    assert yaml.safe_load(await shell.good("get deploy/web -o yaml"))["kind"] == "Deployment"
    assert await shell.good("get deploy,svc -o name") == "deployment.apps/web\nservice/web\n"
    assert (
        await shell.good("get deploy -A -o custom-columns=N:.metadata.namespace --no-headers") == "default\n"
    )

    assert await shell.good(f"delete -f {path}") == ('deployment.apps "web" deleted\nservice "web" deleted\n')
    assert await shell(f"delete -f {path}") == (
        1,
        "",
        'Error from server (NotFound): deployments.apps "web" not found\n'
        'Error from server (NotFound): services "web" not found\n',
    )
    assert await shell.good(f"delete -f {path} --ignore-not-found") == "No resources found\n"


async def test_of_several_names_those_there_are_and_a_line_for_each_other(shell: Shell) -> None:
    await shell.good("run a -- sleep 1")
    code, out, err = await shell("get pods a b c -o name")
    assert (code, out) == (1, "pod/a\n")
    assert err == (
        'Error from server (NotFound): pods "b" not found\nError from server (NotFound): pods "c" not found\n'
    )
    assert (await shell("get pods a b --ignore-not-found -o name"))[0] == 0


async def test_mistakes_are_all_listed_and_what_is_sound_is_applied(shell: Shell) -> None:
    path = shell.file("bad.yaml", WEB.replace("replicas: 3", "replicsa: 3\n  paused: perhaps"))
    code, out, err = await shell(f"apply -f {path}")
    assert code == 1
    assert out == "service/web created\n"
    assert 'spec.replicsa: unknown field, did you mean "replicas"?' in err
    assert "spec.paused" in err
    assert all(line.startswith(f"{path}:") for line in err.splitlines())
    assert (await shell("get deploy"))[2] == "No resources found in default namespace.\n"


async def test_a_namespace_that_disagrees_is_refused(shell: Shell) -> None:
    path = shell.file("a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: x}\n"
                      "spec: {ports: [{port: 1}]}\n")  # fmt: skip
    code, _, err = await shell(f"apply -f {path} -n y")
    assert code == 1
    assert err.startswith(
        'error: the namespace from the provided object "x" does not match the namespace "y"'
    )


async def test_describe_and_events(shell: Shell) -> None:
    await shell.good(f"apply -f {shell.file('web.yaml', WEB)}")
    await shell.good("run web-1 -l app=web -- sleep 1")
    pod = await shell.master.client.get(POD, "default", "web-1")
    event = core.Event(type="Warning", reason="Odd", message="it is odd", count=1)
    event.metadata.name, event.metadata.namespace = "e", "default"
    about = event.involvedObject
    about.kind, about.name, about.namespace, about.uid = "Pod", "web-1", "default", pod.metadata.uid
    event.firstTimestamp.seconds = event.lastTimestamp.seconds = pod.metadata.creationTimestamp.seconds
    await shell.master.client.create(event)
    text = await shell.good("describe pod web-1")
    assert "Name:         web-1\n" in text
    assert "  Warning  Odd" in text
    assert "Odd" not in await shell.good("describe pod/web-1 --show-events=false")
    assert await shell.good("describe pod web") == text
    assert "3 desired | 0 updated" in await shell.good("describe deploy web")
    assert "Endpoints:                <none>\n" in await shell.good("describe svc/web")
    assert "Status:       Active" in await shell.good("describe ns default")
    assert (await shell("describe pod nope"))[2] == 'Error from server (NotFound): pods "nope" not found\n'
    assert (await shell.good("events --for pod/web-1")).split("\n")[1].split()[1:4] == [
        "Warning",
        "Odd",
        "Pod/web-1",
    ]
    assert (await shell.good("events --types=Warning --no-headers")).count("\n") == 1
    assert (await shell("events --types=Normal"))[2] == "No events found in default namespace.\n"
    assert len((await shell.master.client.list(EVENT)).items) == 1


async def test_label_and_annotate(shell: Shell) -> None:
    await shell.good("run a -- sleep 1")
    assert await shell.good("label pod a x=1 y=2") == "pod/a labeled\n"
    assert await shell.good("label pod/a x=1") == "pod/a not labeled\n"
    assert await shell("label pod a x=2") == (
        1, "", "error: 'x' already has a value (1), and --overwrite is false\n"
    )  # fmt: skip
    assert await shell.good("label pods --all --overwrite x=2") == "pod/a labeled\n"
    assert await shell.good("label pods -l x=2 y-") == "pod/a unlabeled\n"
    assert await shell("label pod a y-") == (0, "pod/a not labeled\n", 'label "y" not found.\n')
    assert await shell.good("label pod a --list") == "run=a\nx=2\n"
    code, _, err = await shell("label pod a 'bad key!=1'")
    assert code == 1
    assert err.startswith('The Pod "a" is invalid: metadata.labels')
    assert await shell.good("annotate pod a note='two words'") == "pod/a annotated\n"
    assert await shell.good("get pod a -o jsonpath={.metadata.annotations.note}") == "two words"
    assert await shell.good("annotate pod a note-") == "pod/a annotated\n"
    assert await shell.good("get pods -L x --show-labels --no-headers") != ""


async def test_edit(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    await shell.good(f"apply -f {shell.file('web.yaml', WEB)}")
    monkeypatch.setenv("EDITOR", "true")
    assert await shell("edit deploy web") == (0, "", "Edit cancelled, no changes made.\n")
    editor = shell.editor(
        "s/replicas: 3/replicsa: 5/", "s/replicsa: 5/replicas: -5/", "s/replicas: -5/replicas: 5/"
    )
    monkeypatch.setenv("EDITOR", editor)
    assert await shell.good("edit deploy/web") == "deployment.apps/web edited\n"
    assert await shell.good("get deploy web -o jsonpath={.spec.replicas}") == "5"
    assert 'did you mean "replicas"?' in Path(f"{editor}.seen.2").read_text()
    assert "spec.replicas" in Path(f"{editor}.seen.3").read_text().split("apiVersion")[0]
    monkeypatch.setenv("EDITOR", "false")
    assert await shell("edit deploy/web") == (
        1, "", "error: there was a problem with the editor false (exit code 1)\n"
    )  # fmt: skip
    monkeypatch.setenv("EDITOR", "/no/such/editor")
    assert (await shell("edit deploy/web"))[2].startswith("error: unable to launch the editor")


async def test_edit_does_not_undo_what_others_change(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    await shell.good(f"apply -f {shell.file('web.yaml', WEB)}")
    monkeypatch.setenv("EDITOR", shell.editor("s/replicas: 3/replicas: 7/"))
    line = asyncio.create_task(shell.good("edit deploy web"))
    while not Path(f"{shell.folder}/editor.sh.count").exists() and not line.done():
        await shell.good("label deploy web other=1 --overwrite")
    await line
    assert await shell.good("get deploy web -o jsonpath={.spec.replicas}") == "7"


async def test_rollout(shell: Shell) -> None:
    await shell.good(f"apply -f {shell.file('web.yaml', WEB)}")
    assert (await shell("rollout undo deploy/web"))[
        2
    ] == 'error: no rollout history found for deployment "web"\n'
    await make_revision(shell, 1, "0", "zero")
    await make_revision(shell, 2, "1")
    assert await shell.good("rollout history deploy/web") == (
        "deployment.apps/web \nREVISION  CHANGE-CAUSE\n1         zero\n2         <none>\n\n"
    )
    text = await shell.good("rollout history deploy/web --revision=1")
    assert text.startswith("deployment.apps/web with revision #1\nPod Template:\n")
    assert "  Annotations:  kubernetes.io/change-cause: zero\n" in text
    assert (await shell("rollout history deploy/web --revision=9"))[2] == (
        "error: unable to find specified revision 9 in history of web (it has: 1, 2)\n"
    )
    assert await shell.good("rollout undo deploy/web") == "deployment.apps/web rolled back\n"
    found = await shell.master.client.get(DEPLOYMENT, "default", "web")
    assert list(found.spec.template.spec.containers[0].command) == ["sleep", "0"]
    assert dict(found.spec.template.metadata.labels) == {"app": "web"}
    assert found.metadata.annotations["kubernetes.io/change-cause"] == "zero"
    assert "kubectl.kubernetes.io/last-applied-configuration" in found.metadata.annotations
    assert await shell.good("rollout undo deploy/web --to-revision=1") == (
        "deployment.apps/web skipped rollback (current template already matches revision 1)\n"
    )
    assert await shell.good("rollout pause deploy/web") == "deployment.apps/web paused\n"
    assert await shell("rollout pause deploy/web") == (
        1, "", 'error: deployments.apps "web" is already paused\n'
    )  # fmt: skip
    assert (await shell("rollout undo deploy/web"))[2].startswith("error: you cannot rollback a paused")
    assert (await shell("rollout restart deploy/web"))[2].startswith(
        'error: deployments.apps "web" can\'t restart'
    )
    assert await shell.good("rollout resume deploy/web") == "deployment.apps/web resumed\n"
    assert await shell.good("rollout restart deploy web") == "deployment.apps/web restarted\n"
    found = await shell.master.client.get(DEPLOYMENT, "default", "web")
    assert "kubectl.kubernetes.io/restartedAt" in found.spec.template.metadata.annotations
    assert (await shell("rollout status svc/web"))[
        2
    ] == "error: service/web: rollout status is for deployments\n"
    assert len((await shell.master.client.list(REPLICA_SET, "default")).items) == 2


async def test_rollout_status_follows(shell: Shell) -> None:
    await shell.good(f"apply -f {shell.file('web.yaml', WEB)}")
    client = shell.master.client
    assert await shell("rollout status deploy/web --timeout=200ms") == (
        1,
        "Waiting for deployment spec update to be observed...\n",
        "error: timed out waiting for the condition\n",
    )
    line = asyncio.create_task(shell.good("rollout status deploy/web --timeout=20s"))
    for counts in ((1, 3, 0), (3, 4, 2), (3, 3, 2), (3, 3, 3)):
        found = await client.get(DEPLOYMENT, "default", "web")
        new = apps.Deployment()
        new.CopyFrom(found)
        new.status.observedGeneration = found.metadata.generation
        new.status.updatedReplicas, new.status.replicas, new.status.availableReplicas = counts
        new.status.readyReplicas = new.status.availableReplicas
        await client.update(new, subresource="status")
    said = (await line).splitlines()
    waiting = 'Waiting for deployment "web" rollout to finish: '
    assert said[-1] == 'deployment "web" successfully rolled out'
    assert set(said[:-1]) <= {
        "Waiting for deployment spec update to be observed...",
        f"{waiting}1 out of 3 new replicas have been updated...",
        f"{waiting}1 old replicas are pending termination...",
        f"{waiting}2 of 3 updated replicas are available...",
    }
    assert await shell.good("wait deploy/web --for=jsonpath='{.status.replicas}'=3") == (
        "deployment.apps/web condition met\n"
    )
    assert await shell("wait deploy/web --for=condition=Nice --timeout=100ms") == (
        1, "", "error: timed out waiting for the condition on deployments.apps/web\n"
    )  # fmt: skip


async def test_a_watch_prints_rows_as_they_come(shell: Shell) -> None:
    await shell.good("run a -- sleep 1")
    out = Screen()
    words = ["get", "pods", "-w", "--output-watch-events", "-s", shell.master.address]
    line = asyncio.create_task(run(words, out=out, err=io.StringIO()))
    until = out.until
    await until("ADDED   a ")
    await shell.good("run b -- sleep 1")
    await until("ADDED   b ")
    await shell.good("label pod b c=d")
    await until("MODIFIED   b ")
    await shell("delete pod b --force --grace-period=0")
    await until("DELETED")
    line.cancel()
    with pytest.raises(asyncio.CancelledError):
        await line
    assert out.getvalue().count("NAME") == 1


async def test_delete_waits_until_it_is_gone(shell: Shell) -> None:
    client = shell.master.client
    made = core.Pod()
    made.metadata.name, made.metadata.namespace = "a", "default"
    made.metadata.finalizers.append("test.example/hold")
    made.spec.containers.add(name="a", command=["true"])
    await client.create(made)
    assert await shell("delete pod a --timeout=100ms") == (
        1,
        'pod "a" deleted\n',
        "error: timed out waiting for the condition: what is deleted is still stopping\n",
    )
    line = asyncio.create_task(shell.good("wait pod/a --for=delete --timeout=20s"))
    await asyncio.sleep(0.05)
    assert not line.done()
    await client.patch(POD, "default", "a", {"metadata": {"finalizers": None}}, "merge")
    assert await line == "pod/a condition met\n"
    assert await shell.good("delete pods --all") == "No resources found\n"


async def test_nodes_and_the_cluster(shell: Shell) -> None:
    node = core.Node()
    node.metadata.name = "n1"
    await shell.master.client.create(node)
    assert await shell.good("cordon n1") == "node/n1 cordoned\n"
    assert await shell.good("cordon node/n1") == "node/n1 already cordoned\n"
    assert "SchedulingDisabled" in await shell.good("get nodes")
    assert await shell.good("uncordon n1") == "node/n1 uncordoned\n"
    assert not (await shell.master.client.get(NODE, "", "n1")).spec.unschedulable
    assert (await shell("cordon n2"))[2] == 'Error from server (NotFound): nodes "n2" not found\n'
    assert f"is running at {shell.master.address}\n" in await shell.good("cluster-info")
    assert (await shell.good("version")).count("Version: v") == 2


async def test_patch(shell: Shell) -> None:
    await shell.good(f"apply -f {shell.file('web.yaml', WEB)}")
    patch = '{"spec":{"minReadySeconds":5}}'
    assert await shell.good(f"patch deploy/web -p '{patch}'") == "deployment.apps/web patched\n"
    assert await shell.good(f"patch deploy/web -p '{patch}'") == "deployment.apps/web patched (no change)\n"
    operations = '[{"op":"replace","path":"/spec/replicas","value":1}]'
    assert (
        await shell.good(f"patch deploy web --type=json -p '{operations}' -o jsonpath={{.spec.replicas}}")
        == "1"
    )
    code, _, err = await shell("patch deploy web -p '{spec: {replicas: -1}}'")
    assert code == 1
    assert err.startswith('The Deployment "web" is invalid: spec.replicas')


async def test_names_are_completed(shell: Shell) -> None:
    await shell.good("run alpha -- sleep 1")
    await shell.good("run beta -- sleep 1")
    assert await shell.good("__complete -- get pod ''") == "alpha\nbeta\n"
    assert await shell.good("__complete -- get pod alpha b") == "beta\n"
    assert await shell.good("__complete -- logs al") == "alpha\n"
    assert await shell.good("__complete -- delete po/b") == "po/beta\n"
    assert await shell.good("__complete -- get -n def") == "default\n"
    assert await shell.good("__complete -- get pods,dep") == "pods,deployments\n"
    assert await shell.good("__complete -- rollout st") == "status\n"
    assert await shell.good("__complete -- apply -f ''") == ":files\n"
    assert await shell.good("__complete -- get --output=js") == "--output=json\n--output=jsonpath=\n"
    assert (await shell.good("__complete -- rol")).startswith("rollout\t")
    assert "--watch\t" in await shell.good("__complete -- get pods --wat")


async def test_in_a_process_of_its_own(shell: Shell) -> None:
    """Standard input, exit codes and output as a shell sees them."""

    async def process(*words: str, text: str = "") -> tuple[int | None, str, str]:
        made = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "orchestra.cli.main", *words,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "ORCHESTRA_SERVER": shell.master.address},
        )  # fmt: skip
        out, err = await made.communicate(text.encode())
        return made.returncode, out.decode(), err.decode()

    assert await process("apply", "-f", "-", text=WEB) == (
        0, "deployment.apps/web created\nservice/web created\n", ""
    )  # fmt: skip
    assert await process("get", "deploy", "web", "-o", "name") == (0, "deployment.apps/web\n", "")
    assert await process("get", "pod", "nope") == (
        1, "", 'Error from server (NotFound): pods "nope" not found\n'
    )  # fmt: skip
    code, _, err = await process("apply", "-f", "-", text="a: [")
    assert code == 1
    assert err.startswith("standard input:2: not YAML")


async def test_ctrl_c_is_quiet(shell: Shell) -> None:
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestra.cli.main", "get", "ns", "-w", "-s", shell.master.address,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert made.stdout is not None
    async with asyncio.timeout(20):
        await made.stdout.readline()
        made.send_signal(2)
        _, err = await made.communicate()
    assert (made.returncode, err) == (130, b"")


async def test_logs_say_what_is_missing(shell: Shell) -> None:
    await shell.good("run a -l app=a -- sleep 1")
    code, out, err = await shell("logs a")
    assert (code, out) == (1, "")
    assert err.startswith("Error from server (")
    assert err.count("\n") == 1
    assert (await shell("logs a -c b"))[2] == "error: container b is not valid for pod a (it has: a)\n"
    assert (await shell("logs nope"))[2] == 'Error from server (NotFound): pods "nope" not found\n'
    assert await shell("logs -l app=none") == (0, "", "No resources found in default namespace.\n")
    await shell.good(f"apply -f {shell.file('web.yaml', WEB)}")
    assert (await shell("logs deploy/web"))[2] == "error: no pods found for deploy/web\n"
    assert (await shell("logs a -f --max-log-requests=0"))[2].startswith(
        "error: you are attempting to follow 1 "
    )
