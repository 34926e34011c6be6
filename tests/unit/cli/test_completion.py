"""The completion scripts as the shells read them, and what they ask."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestra.cli.verbs.completion import SCRIPTS

# The shells of this machine; bash is on every one that tests run on.
SHELLS = {shell: program for shell in SCRIPTS if (program := shutil.which(shell))}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_can_read_its_script(shell: str) -> None:
    check = "--no-execute" if shell == "fish" else "-n"
    answer = subprocess.run(
        [SHELLS[shell], check], input=SCRIPTS[shell], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, "")


def bash_completes(line: str, answer: str, folder: Path) -> tuple[list[str], list[str]]:
    """What bash offers for a line, when orchestra answers so; and what orchestra was asked."""
    program = folder / "orchestra"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{folder}/asked\nprintf "{answer}"\n')
    program.chmod(0o755)
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    code = f"""{SCRIPTS["bash"]}
COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}
_orchestra 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    answered = subprocess.run(
        ["bash", "--norc", "-c", code], capture_output=True, text=True, check=True, cwd=folder,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    asked = (folder / "asked").read_text().split("\n")[:-1]
    return [word for word in answered.stdout.split("\n") if word], asked


def test_bash_offers_what_orchestra_says(tmp_path: Path) -> None:
    assert bash_completes("orchestra get pods ", "web-1\\nweb-2\\n", tmp_path) == (
        ["web-1", "web-2"],
        ["__complete", "--", "get", "pods", ""],
    )
    assert bash_completes("orchestra rol", "rollout\\tManage a rollout\\n", tmp_path)[0] == ["rollout"]
    assert bash_completes("orchestra get pods x", "", tmp_path)[0] == []
    (tmp_path / "web.yaml").touch()
    assert bash_completes("orchestra apply -f we", ":files", tmp_path)[0] == ["web.yaml"]
