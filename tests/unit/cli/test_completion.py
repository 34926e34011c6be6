"""The completion scripts as the shells read them, and what they ask."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestra.cli.verbs.completion import SCRIPTS


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_shell_can_read_its_script(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} on this machine")
    check = "--no-execute" if shell == "fish" else "-n"
    answer = subprocess.run(
        [program, check], input=SCRIPTS[shell], capture_output=True, text=True, check=False
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


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_bash_offers_what_orchestra_says(tmp_path: Path) -> None:
    assert bash_completes("orchestra get pods ", "web-1\\nweb-2\\n", tmp_path) == (
        ["web-1", "web-2"],
        ["__complete", "--", "get", "pods", ""],
    )
    assert bash_completes("orchestra rol", "rollout\\tManage a rollout\\n", tmp_path)[0] == ["rollout"]
    assert bash_completes("orchestra get pods x", "", tmp_path)[0] == []
    (tmp_path / "web.yaml").touch()
    assert bash_completes("orchestra apply -f we", ":files", tmp_path)[0] == ["web.yaml"]
