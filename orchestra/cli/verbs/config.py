"""config: the contexts of the configuration file."""

import os
from dataclasses import replace

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli.command import Command
from orchestra.cli.config import Config, load_config, save_config, with_context
from orchestra.cli.flags import NO_HEADERS, OUTPUT, Flag
from orchestra.cli.printing.structured import STRUCTURED
from orchestra.cli.printing.tables import plain_table
from orchestra.cli.session import Session


def _one_name(session: Session) -> str:
    if len(session.words) != 1:
        raise UsageError("exactly one context NAME is required")
    return session.words[0]


def _known(config: Config, name: str) -> None:
    if name not in config.contexts:
        known = ", ".join(config.contexts) or "none"
        raise OrchestraError(f'no context exists with the name: "{name}" (there is: {known})')


async def _get_contexts(session: Session) -> int:
    config = load_config(os.environ)
    names = session.words or sorted(config.contexts)
    for name in names:
        _known(config, name)
    if session.options.output == "name":
        session.write("".join(name + "\n" for name in names))
        return 0
    rows = [
        [
            "*" if name == config.current else "",
            name,
            config.contexts[name].server,
            config.contexts[name].namespace,
        ]
        for name in names
    ]
    header = ["CURRENT", "NAME", "SERVER", "NAMESPACE"]
    session.write(plain_table(header, rows, headers=not session.options.no_headers))
    return 0


async def _current_context(session: Session) -> int:
    config = load_config(os.environ)
    if not config.current:
        raise OrchestraError("current-context is not set")
    session.say(config.current)
    return 0


async def _use_context(session: Session) -> int:
    name = _one_name(session)
    config = load_config(os.environ)
    _known(config, name)
    save_config(replace(config, current=name))
    session.say(f'Switched to context "{name}".')
    return 0


async def _set_context(session: Session) -> int:
    config = load_config(os.environ)
    if session.options.current:
        if session.words:
            raise UsageError("you cannot specify both a context name and --current")
        name = config.current
        if not name:
            raise OrchestraError("no current context is set")
    else:
        name = _one_name(session)
    server = session.options.server if "server" in session.given else None
    namespace = session.options.namespace if "namespace" in session.given else None
    existed = name in config.contexts
    save_config(with_context(config, name, server, namespace))
    session.say(f'Context "{name}" {"modified" if existed else "created"}.')
    return 0


async def _delete_context(session: Session) -> int:
    name = _one_name(session)
    config = load_config(os.environ)
    _known(config, name)
    left = {known: context for known, context in config.contexts.items() if known != name}
    save_config(replace(config, contexts=left, current="" if config.current == name else config.current))
    session.say(f"deleted context {name} from {config.path}")
    return 0


async def _view(session: Session) -> int:
    config = load_config(os.environ)
    data = {
        "current-context": config.current,
        "contexts": {
            name: {"server": context.server, "namespace": context.namespace}
            for name, context in config.contexts.items()
        },
    }
    form = session.options.output or "yaml"
    if form not in STRUCTURED:
        raise UsageError("--output must be 'yaml' or 'json'")
    session.write(STRUCTURED[form](data))
    return 0


COMMANDS = (
    Command(
        "config",
        "Show and change the configuration file ($ORCHESTRA_CONFIG or ~/.orchestra/config.yaml).",
        "SUBCOMMAND [options]",
        examples="""
        orchestra config set-context home --server=192.168.1.10:7070 --namespace=web
        orchestra config use-context home
        """,
        commands=(
            Command("config current-context", "Display the current context.", "", (),
                    "orchestra config current-context", _current_context),
            Command("config delete-context", "Delete a context.", "NAME", (),
                    "orchestra config delete-context home", _delete_context),
            Command("config get-contexts", "Display the contexts.", "[NAME...]", (NO_HEADERS, OUTPUT),
                    "orchestra config get-contexts", _get_contexts),
            Command("config set-context", "Set a context's server and namespace.",
                    "(NAME | --current) [--server=HOST:PORT] [--namespace=NAMESPACE]",
                    (Flag("current", "Change the current context.", shape="bool"),),
                    "orchestra config set-context --current --namespace=shop", _set_context),
            Command("config use-context", "Make a context the current one.", "NAME", (),
                    "orchestra config use-context home", _use_context),
            Command("config view", "Display the configuration.", "[-o json|yaml]", (OUTPUT,),
                    "orchestra config view", _view),
        ),
    ),
)  # fmt: skip
