"""Which master and which namespace: the configuration file, the environment, the flags; later ones win.

The file is $ORCHESTRA_CONFIG or ~/.orchestra/config.yaml:

    current-context: home
    contexts:
      home: {server: 10.0.0.5:7070, namespace: default}
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestra.base.errors import OrchestraError, UsageError

DEFAULT_SERVER = "127.0.0.1:7070"
DEFAULT_NAMESPACE = "default"
_CONFIG_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Context:
    """One named pair; an empty string leaves the choice to the default."""

    server: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says."""

    path: Path
    current: str = ""
    contexts: Mapping[str, Context] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """What one command runs with. `namespace_given`: by flag, so that a manifest must agree."""

    server: str
    namespace: str
    namespace_given: bool = False


def config_path(environment: Mapping[str, str]) -> Path:
    """Where the configuration file is or would be."""
    named = environment.get("ORCHESTRA_CONFIG", "")
    return Path(named).expanduser() if named else Path.home() / ".orchestra" / "config.yaml"


def load_config(environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration file; an absent one is an empty one.

    Raises: OrchestraError for a file that cannot be read or is not of the form above.
    """
    path = config_path(environment)
    try:
        with path.open("rb") as file:
            data = file.read(_CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        return Config(path)
    except OSError as error:
        raise OrchestraError(f"cannot read the configuration {path}: {error.strerror}") from error
    if len(data) > _CONFIG_BYTES_MAX:
        raise OrchestraError(f"the configuration {path} is larger than {_CONFIG_BYTES_MAX} bytes")
    import yaml

    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise OrchestraError(
            f"the configuration {path} is no YAML: {' '.join(str(error).split())}"
        ) from error
    return _config(path, content)


def _config(path: Path, content: Any) -> Config:
    wrong = OrchestraError(
        f"the configuration {path} must be: current-context: NAME, contexts: {{NAME: {{server: HOST:PORT, "
        "namespace: NAME}}"
    )
    if content is None:
        return Config(path)
    if not isinstance(content, dict) or not isinstance(content.get("contexts") or {}, dict):
        raise wrong
    contexts = {}
    for name, entry in (content.get("contexts") or {}).items():
        entry = entry or {}
        if not isinstance(name, str) or not isinstance(entry, dict):
            raise wrong
        contexts[name] = Context(str(entry.get("server") or ""), str(entry.get("namespace") or ""))
    return Config(path, str(content.get("current-context") or ""), contexts)


def save_config(config: Config) -> None:
    """Writes the file, whole or not at all."""
    import yaml

    content = {
        "current-context": config.current,
        "contexts": {
            name: {key: value for key, value in (("server", c.server), ("namespace", c.namespace)) if value}
            for name, c in config.contexts.items()
        },
    }
    try:
        config.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=config.path.parent, prefix=".config-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                yaml.safe_dump(content, file, sort_keys=True, allow_unicode=True)
            os.replace(name, config.path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise OrchestraError(f"cannot write the configuration {config.path}: {error.strerror}") from error


def with_context(config: Config, name: str, server: str | None, namespace: str | None) -> Config:
    """The configuration with one context added or changed; None leaves a part as it is."""
    before = config.contexts.get(name, Context())
    changed = Context(
        before.server if server is None else server, before.namespace if namespace is None else namespace
    )
    return replace(config, contexts={**config.contexts, name: changed})


def settle(
    *, server: str = "", namespace: str = "", context: str = "", environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings of one command: flags over environment over the file's context over the defaults.

    Raises: UsageError for a context that the file does not have.
    """
    config = load_config(environment)
    wanted = context or config.current
    if wanted and wanted not in config.contexts:
        known = ", ".join(config.contexts) or "none"
        raise UsageError(f'context "{wanted}" does not exist in {config.path} (it has: {known})')
    chosen = config.contexts.get(wanted, Context())
    from_environment = "" if context else environment.get("ORCHESTRA_SERVER", "")
    return Settings(
        server or from_environment or chosen.server or DEFAULT_SERVER,
        namespace or chosen.namespace or DEFAULT_NAMESPACE,
        bool(namespace),
    )
