"""completion: scripts for bash, zsh and fish, and what they ask: `orchestra __complete WORD...`."""

import asyncio
import os
from collections.abc import Sequence

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli.command import Command
from orchestra.cli.flags import GLOBALS, Flag, parse
from orchestra.cli.session import Session
from orchestra.objects.kinds import KINDS, NAMESPACE, NODE, POD, Kind, kind_named

# A person waits for it with a finger on the tab key.
_DEADLINE_SECONDS = 1.0
_NAMES_MAX = 500

_BASH = r"""# bash completion for orchestra
# Use: source <(orchestra completion bash)
_orchestra() {
    local IFS=$'\n' current words
    # Words as the shell would split them, without breaking at = and :.
    words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    current="${COMP_WORDS[COMP_CWORD]}"
    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        local cword
        _get_comp_words_by_ref -n "=:" -w words -c current -i cword
        words=("${words[@]:1:cword}")
    fi
    COMPREPLY=()
    local found
    found="$(orchestra __complete -- "${words[@]}" 2>/dev/null)" || return 0
    if [ "$found" = ":files" ]; then
        COMPREPLY=($(compgen -f -- "$current"))
        type compopt >/dev/null 2>&1 && compopt -o filenames
        return 0
    fi
    local line
    while read -r line; do
        [ -n "$line" ] && COMPREPLY+=("${line%%$'\t'*}")
    done <<<"$found"
    if [ "${#COMPREPLY[@]}" = 1 ]; then
        case "${COMPREPLY[0]}" in
            */ | *=) type compopt >/dev/null 2>&1 && compopt -o nospace ;;
        esac
    fi
    if declare -F __ltrim_colon_completions >/dev/null 2>&1; then
        __ltrim_colon_completions "$current"
    fi
    return 0
}
complete -F _orchestra orchestra
"""

_ZSH = r"""#compdef orchestra
# zsh completion for orchestra
# Use: source <(orchestra completion zsh)
_orchestra() {
    local -a found names described
    local line
    found=("${(@f)$(orchestra __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ "${found[1]}" == ":files" ]]; then
        _files
        return
    fi
    for line in "${found[@]}"; do
        [[ -z "$line" ]] && continue
        names+=("${line%%$'\t'*}")
        if [[ "$line" == *$'\t'* ]]; then
            described+=("${line%%$'\t'*}  -- ${line#*$'\t'}")
        else
            described+=("$line")
        fi
    done
    compadd -l -d described -- "${names[@]}"
}
if [ "$funcstack[1]" = "_orchestra" ]; then
    _orchestra
else
    compdef _orchestra orchestra
fi
"""

_FISH = r"""# fish completion for orchestra
# Use: orchestra completion fish | source
function __orchestra_complete
    set -l words (commandline -opc) (commandline -ct)
    set -e words[1]
    set -l found (orchestra __complete -- $words 2>/dev/null)
    if test "$found[1]" = ":files"
        __fish_complete_path (commandline -ct)
        return
    end
    printf '%s\n' $found
end
complete -c orchestra -f -a '(__orchestra_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

# Verbs whose words name resources; of these the ones that take one fixed kind.
_RESOURCE_VERBS = {"get", "describe", "delete", "edit", "label", "annotate", "patch", "scale", "wait",
                   "explain",
                   "rollout status", "rollout history", "rollout undo", "rollout pause", "rollout resume",
                   "rollout restart"}  # fmt: skip
_MEMBERS = {"member remove", "member promote", "member move-leader"}
_FILES = {"snapshot save", "snapshot status", "snapshot restore"}
_FIXED = {"logs": POD, "cordon": NODE, "uncordon": NODE}


async def _completion(session: Session) -> int:
    if len(session.words) != 1 or session.words[0] not in SCRIPTS:
        raise UsageError(f"name a shell: {', '.join(SCRIPTS)}")
    session.write(SCRIPTS[session.words[0]])
    return 0


async def _complete(session: Session) -> int:
    for line in await candidates(session, session.trailing or [""]):
        session.say(line)
    return 0


async def candidates(session: Session, words: Sequence[str]) -> list[str]:
    """What the last word may become, given those before it; a tab and a description may follow each."""
    from orchestra.cli.main import VERBS, find_command

    *before, current = words
    plain = [word for word in before if not word.startswith("-")]
    if not plain:
        if current.startswith("-"):
            return _flags(GLOBALS, current)
        return [f"{verb}\t{said}" for verb, (_, _, said) in VERBS.items() if verb.startswith(current)]
    try:
        command, rest = find_command(before)
    except (OrchestraError, ImportError):
        return []
    flags = (*command.flags, *GLOBALS)
    asked = _awaited(flags, before[-1] if before else "")
    if asked is not None:
        return await _values(session, asked, current, before)
    if current.startswith("--") and "=" in current:
        name, _, value = current.partition("=")
        flag = next((flag for flag in flags if f"--{flag.name}" == name), None)
        return [f"{name}={v}" for v in await _values(session, flag, value, before)] if flag else []
    if current.startswith("-"):
        return _flags(flags, current)
    if command.commands:
        words_there = [sub.name.rsplit(" ", 1)[-1] for sub in command.commands]
        return [word for word in words_there if word.startswith(current)]
    try:
        parsed = parse(flags, rest)
    except UsageError:
        return []
    if command.name == "completion":
        return [name for name in SCRIPTS if name.startswith(current)]
    if command.name in _MEMBERS:
        return await _members(session, current) if not parsed.words else []
    if command.name in _FILES:
        return [":files"]
    return await _resources(session, command.name, parsed.words, current, parsed.options)


def _awaited(flags: Sequence[Flag], word: str) -> Flag | None:
    """The flag whose value comes next."""
    for flag in flags:
        takes = flag.shape not in ("bool", "level") and flag.bare is None
        if takes and word in (f"--{flag.name}", f"-{flag.short}" if flag.short else ""):
            return flag
    return None


def _flags(flags: Sequence[Flag], current: str) -> list[str]:
    found = []
    for flag in flags:
        equals = "" if flag.shape in ("bool", "level") or flag.bare is not None else "="
        if f"--{flag.name}".startswith(current):
            found.append(f"--{flag.name}{equals}\t{flag.help}")
    return sorted(found)


async def _values(session: Session, flag: Flag, current: str, before: Sequence[str]) -> list[str]:
    """What a flag's value may be."""
    if flag.name in ("filename", "data-dir", "patch-file"):
        return [":files"]
    if flag.name == "namespace":
        return await _names(session, NAMESPACE, current, "")
    if flag.name == "context":
        from orchestra.cli.config import load_config

        return [name for name in load_config(os.environ).contexts if name.startswith(current)]
    fixed = flag.choices or (("json", "yaml", "name", "wide", "jsonpath=", "custom-columns=")
                             if flag.name == "output" else ())  # fmt: skip
    return [value for value in fixed if value.startswith(current)]


async def _resources(
    session: Session, verb: str, words: Sequence[str], current: str, options: object
) -> list[str]:
    namespace = str(getattr(options, "namespace", "") or session.settings.namespace)
    if verb in _FIXED:
        if "/" not in current:
            return await _names(session, _FIXED[verb], current, namespace)
    elif verb not in _RESOURCE_VERBS:
        return []
    if "/" in current:
        word, _, prefix = current.partition("/")
        kind = kind_named(word)
        return [f"{word}/{name}" for name in await _names(session, kind, prefix, namespace)] if kind else []
    if not words:
        head, comma, last = current.rpartition(",")
        return [head + comma + kind.plural for kind in KINDS if kind.plural.startswith(last)]
    kind = kind_named(words[0])
    if kind is None or verb == "explain":
        return []
    return [name for name in await _names(session, kind, current, namespace) if name not in words[1:]]


async def _members(session: Session, prefix: str) -> list[str]:
    """Names of masters."""
    try:
        answer = await session.client.members(timeout=_DEADLINE_SECONDS)
    except OrchestraError:
        return []
    return sorted(member.name for member in answer.members if member.name.startswith(prefix))


async def _names(session: Session, kind: Kind, prefix: str, namespace: str) -> list[str]:
    """Names of objects, as far as the server tells them in a short time."""
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            answer = await session.client.list(
                kind, namespace if kind.namespaced else "", limit=_NAMES_MAX, timeout=_DEADLINE_SECONDS
            )
    except (OrchestraError, TimeoutError):
        return []
    return [obj.metadata.name for obj in answer.items if obj.metadata.name.startswith(prefix)]


COMMANDS = (
    Command(
        "completion",
        "Print the shell completion code.",
        "(bash | zsh | fish)",
        (),
        """
        # In this shell, or for good in ~/.bashrc
        source <(orchestra completion bash)
        """,
        _completion,
    ),
    Command(
        "__complete", "What a word may become; the completion scripts ask this.", "-- WORD...", run=_complete
    ),
)
