"""The entry: help, wrong lines, exit codes; what runs without a master."""

import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestra.base.errors import (
    BadRequest,
    Conflict,
    DeadlineExceeded,
    OrchestraError,
    Unavailable,
    Violation,
    invalid,
    not_found,
)
from orchestra.cli.errors import Reported, sentences
from orchestra.cli.main import VERBS, main, run

REQUESTS = [verb for verb in VERBS if verb not in ("up", "master", "agent")]


async def typed(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    monkeypatch.setenv("ORCHESTRA_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.delenv("ORCHESTRA_SERVER", raising=False)
    out, err = io.StringIO(), io.StringIO()
    code = await run(line.split(" ") if line else [], out=out, err=err)
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gte pods", 'error: unknown command "gte" for "orchestra", did you mean "get"?'),
        ("zzzz", 'error: unknown command "zzzz" for "orchestra" (see orchestra --help)'),
        ("get pods --wacth", "error: unknown flag: --wacth, did you mean --watch?"),
        ("get", 'error: you must specify the type of resource to get: see "orchestra api-resources"'),
        ("get pdos", 'error: the server doesn\'t have a resource type "pdos", did you mean "pods"?'),
        ("get pods a -l x=y", "error: name cannot be provided when a selector is specified"),
        ("get pods a -A", "error: a resource cannot be retrieved by name across all namespaces"),
        ("get pods -o fancy", 'error: unable to match a printer suitable for the output format "fancy"'),
        ("get pods -o jsonpath={.a", "error: error parsing jsonpath {.a, unclosed action"),
        ("get po,svc -w", "error: you may only specify a single resource type or name with -w"),
        ("get pods --context=nowhere", 'error: context "nowhere" does not exist'),
        ("describe", 'error: you must specify the type of resource to describe'),
        ("apply", "error: must specify -f"),
        ("apply -f /nowhere.yaml", 'error: the path "/nowhere.yaml" does not exist'),
        ("create deployment web", "error: nothing to run"),
        ("create thing web", "error: unknown thing to create: thing"),
        ("delete", "error: you must provide one or more resources by argument or filename"),
        ("delete pods", "error: resource(s) were provided, but no name was specified"),
        ("delete pods a --all", "error: setting 'all' parameter but found a non empty selector or a name"),
        ("delete pod a --now --grace-period=3", "error: --now and --grace-period cannot be specified together"),
        ("delete pod a --cascade=up", "error: invalid cascade value (up)"),
        ("scale deploy/web", 'error: required flag(s) "replicas" not set'),
        ("scale deploy/web --replicas=-1", "error: the --replicas=COUNT flag is required"),
        ("scale deploy/web --replicas=many", 'error: invalid argument "many" for "--replicas"'),
        ("rollout status", "error: required resource not specified"),
        ("rollout foo", 'error: unknown command "foo" for "orchestra rollout" (see orchestra rollout --help)'),
        ("member ad m4", 'error: unknown command "ad" for "orchestra member", did you mean "add"?'),
        ("member add", "error: exactly one NAME, the new master's, is required"),
        ("member add M_4 --peer-addresses=a:1", "error: a master's name takes"),
        ("logs", "error: expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'"),
        ("logs a --since=1s --since-time=2026-01-01T00:00:00Z", "error: at most one of --since-time and --since"),
        ("logs a --since=soon", 'error: invalid argument "soon" for "--since": "soon" is no duration'),
        ("logs a --since=0s", "error: --since must be greater than 0"),
        ("label", "error: one or more resources must be specified"),
        ("label pod a", "error: at least one label update is required"),
        ("label pod a x=y x-", "error: can not both modify and remove x in the same command"),
        ("annotate pod a", "error: at least one annotate update is required"),
        ("patch pod a", "error: must specify --patch or --patch-file"),
        ("patch pod a -p [", "error: unable to parse the patch"),
        ("wait pod a", "error: --for is required"),
        ("wait pod a --for=happy", 'error: unrecognized condition: "happy"'),
        ("run", "error: NAME is required for run"),
        ("run web", "error: nothing to run"),
        ("run web --env=A --dry-run=client -- x", "error: invalid env: A"),
        ("run web --port=0x --dry-run=client -- x", 'error: invalid port "0x"'),
        ("events --for=pod", "error: --for must be in resource/name form"),
        ("explain", "error: you must specify the type of resource to explain"),
        ("completion tcsh", "error: name a shell: bash, zsh, fish"),
        ("cordon", "error: one or more nodes must be specified"),
        ("edit", "error: must specify the resource to edit"),
        ("drain n1", 'error: unknown command "drain" for "orchestra" (see orchestra --help)'),
    ],
)  # fmt: skip
async def test_wrong_usage_is_one_line_and_exit_code_2(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = await typed(line, tmp_path, monkeypatch)
    assert (code, out) == (2, ""), err
    assert err.startswith(said), err
    assert err.count("\n") == 1


@pytest.mark.parametrize("verb", REQUESTS)
async def test_every_verb_has_help_with_an_example(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = await typed(f"{verb} --help", tmp_path, monkeypatch)
    assert (code, err) == (0, "")
    assert "Usage:\n  orchestra " in out
    assert "Examples:\n" in out
    again, same, _ = await typed(f"help {verb}", tmp_path, monkeypatch)
    assert (again, same) == (code, out)


async def test_help_names_every_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = await typed("", tmp_path, monkeypatch)
    assert code == 0
    assert all(f"\n  {verb} " in out for verb in VERBS)
    code, out, _ = await typed("options", tmp_path, monkeypatch)
    assert "--namespace" in out


def test_every_verb_is_where_it_is_said_to_be() -> None:
    for verb, (module, _, _) in VERBS.items():
        commands = importlib.import_module(f"orchestra.cli.{module}").COMMANDS
        assert verb in [command.name for command in commands]


async def test_dry_runs_need_no_master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = await typed(
        "run web --port=80 --env=A=1 -l a=b --dry-run=client -o json -- sleep 5", tmp_path, monkeypatch
    )
    made = json.loads(out)
    assert code == 0
    assert made["metadata"] == {"labels": {"a": "b"}, "name": "web", "namespace": "default"}
    assert made["spec"]["containers"] == [
        {"command": ["sleep", "5"], "env": [{"name": "A", "value": "1"}], "name": "web",
         "ports": [{"containerPort": 80}]}
    ]  # fmt: skip
    line = "-n shop create deployment web --replicas=2 --image=x/nginx:1 --dry-run=client -o yaml"
    code, out, _ = await typed(line, tmp_path, monkeypatch)
    made = yaml.safe_load(out)
    assert made["metadata"]["namespace"] == "shop"
    assert made["spec"]["replicas"] == 2
    assert made["spec"]["template"]["spec"]["containers"] == [{"image": "x/nginx:1", "name": "nginx"}]
    code, out, _ = await typed("create ns shop --dry-run=client", tmp_path, monkeypatch)
    assert out == "namespace/shop created (dry run)\n"
    code, out, _ = await typed("version --client", tmp_path, monkeypatch)
    assert out.startswith("Client Version: v")


async def test_a_manifest_with_mistakes_is_refused_with_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "web.yaml"
    path.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {name: a, comand: [x]}\n"
        "  restartPolicy: 3\n"
    )
    code, out, err = await typed(f"create -f {path} --dry-run=client", tmp_path, monkeypatch)
    assert (code, out) == (1, "")
    assert f'{path}:6: spec.containers[0].comand: unknown field, did you mean "command"?' in err
    assert f"{path}:7: spec.restartPolicy: " in err


async def test_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def line(text: str) -> tuple[int, str, str]:
        return await typed(text, tmp_path, monkeypatch)

    assert await line("config current-context") == (1, "", "error: current-context is not set\n")
    assert (await line("config set-context home --server=h:1 --namespace=web"))[
        1
    ] == 'Context "home" created.\n'
    assert (await line("config use-context home"))[1] == 'Switched to context "home".\n'
    assert (await line("config set-context --current -n shop"))[1] == 'Context "home" modified.\n'
    assert (await line("config get-contexts"))[1] == (
        "CURRENT   NAME   SERVER   NAMESPACE\n*         home   h:1      shop\n"
    )
    assert (await line("config current-context"))[1] == "home\n"
    assert await line("config use-context away") == (
        1, "", 'error: no context exists with the name: "away" (there is: home)\n'
    )  # fmt: skip
    assert (await line("config delete-context home"))[0] == 0


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (not_found("pods", "x"), ['Error from server (NotFound): pods "x" not found']),
        (BadRequest("no"), ["Error from server (BadRequest): no"]),
        (Conflict("changed"), ["Error from server (Conflict): changed"]),
        (
            invalid("Pod", "a", [Violation("spec.x", "is wrong")]),
            ['The Pod "a" is invalid: spec.x: is wrong'],
        ),
        (
            invalid("Pod", "a", [Violation("x", "1"), Violation("y", "2")]),
            ['The Pod "a" is invalid: ', "* x: 1", "* y: 2"],
        ),
        (Unavailable("cannot reach the master"), ["error: cannot reach the master"]),
        (DeadlineExceeded("no answer"), ["error: no answer"]),
        (OrchestraError("odd"), ["error: odd"]),
        (Reported(["a", "b"]), ["a", "b"]),
        (KeyError("x"), ["error: KeyError: 'x'"]),
        (ValueError("a\n b"), ["error: ValueError: a b"]),
    ],
)
def test_errors_are_worded_as_kubectl_words_them(error: Exception, lines: list[str]) -> None:
    assert sentences(error) == lines


def orchestra(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestra.cli.main", *words],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **more},
    )  # fmt: skip


def test_without_a_master_there_is_one_line(tmp_path: Path) -> None:
    answer = orchestra("get", "pods", "-s", "127.0.0.1:1", ORCHESTRA_CONFIG=str(tmp_path / "none"))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("error: cannot reach the master at 127.0.0.1:1")
    assert answer.stderr.count("\n") == 1
    told = orchestra("get", "pods", "-s", "127.0.0.1:1", "-v", ORCHESTRA_CONFIG=str(tmp_path / "none"))
    assert "Traceback" in told.stderr


def test_a_reader_that_leaves_is_no_failure_worth_a_word(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestra.cli.main", "explain", "pod", "--recursive"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 141


def test_output_that_has_no_room_is_one_line() -> None:
    for words in (["explain", "pod", "--recursive"], ["--help"]):
        with open("/dev/full", "w") as full:
            answer = subprocess.run(
                [sys.executable, "-m", "orchestra.cli.main", *words],
                stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
            )  # fmt: skip
        assert (answer.returncode, answer.stderr) == (
            1, "error: cannot write to standard output: No space left on device\n"
        )  # fmt: skip


def test_output_that_is_closed_is_nobodys() -> None:
    command = [sys.executable, "-m", "orchestra.cli.main", "api-versions"]
    answer = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *command], capture_output=True, text=True, timeout=60, check=False
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["up", "--port=99999"], 2, "error: --port must be between 0 (any that is free) and 65535"),
        (["agent", "--name=x", "--master=somewhere"], 2, 'error: "somewhere" is no address: give HOST:PORT'),
    ],
)
def test_a_process_refuses_what_can_never_work(words: list[str], code: int, said: str) -> None:
    answer = orchestra(*words)
    assert answer.returncode == code
    assert answer.stderr.startswith(said)
    assert answer.stderr.count("\n") == 1


def test_up_takes_no_other_port_than_the_one_asked_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = orchestra("up", f"--port={port}", TMPDIR=str(tmp_path))
    assert answer.returncode == 1
    assert answer.stderr == f"error: port {port} on 127.0.0.1 is taken: give another, or none\n"
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written_in_the_terminals_letters(tmp_path: Path) -> None:
    answer = orchestra(
        "run", "a", "--env=A=é", "--dry-run=client", "-o", "yaml", "--", "x",
        PYTHONIOENCODING="ascii", ORCHESTRA_CONFIG=str(tmp_path / "none"),
    )  # fmt: skip
    assert answer.returncode == 0
    assert "\\xe9" in answer.stdout


def test_an_agent_carries_no_printer() -> None:
    code = (
        "import sys; from orchestra.cli.main import read_line; read_line(['agent', '--name', 'x']);"
        "print([m for m in sys.modules if m == 'yaml' or m.startswith(('orchestra.cli.printing', "
        "'orchestra.cli.describe', 'orchestra.store', 'orchestra.objects.manifests'))])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout == "[]\n"


def test_main_answers_with_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["api-versions"]) == 0
    assert capsys.readouterr().out == "apps/v1\ndiscovery.k8s.io/v1\nv1\n"
    assert main(["zzz"]) == 2


def test_ctrl_c_during_the_first_imports_is_quiet() -> None:
    code = (
        "import signal, sys; import orchestra.cli.entry;"
        "assert 'asyncio' not in sys.modules; signal.raise_signal(signal.SIGINT)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (answer.returncode, answer.stderr) == (-signal.SIGINT, "")
