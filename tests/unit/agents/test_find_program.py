"""Where a program named without a path is found."""

import os
from pathlib import Path

import pytest

from agents.runtime.spawner.child import find_program


def program(folder: Path, mode: int = 0o755) -> Path:
    folder.mkdir(exist_ok=True)
    made = folder / "tool"
    made.write_text("#!/bin/sh\n")
    made.chmod(mode)
    return made


def test_the_first_that_can_be_run_counts(tmp_path: Path) -> None:
    (tmp_path / "a" / "tool").mkdir(parents=True)
    program(tmp_path / "b", 0o644)
    wanted = program(tmp_path / "c")
    program(tmp_path / "d")
    path = ":".join(str(tmp_path / name) for name in ("missing", "a", "b", "c", "d"))
    assert find_program("tool", {"PATH": path}) == str(wanted)


def test_a_path_is_taken_as_it_is() -> None:
    assert find_program("./tool", {"PATH": "/bin"}) == "./tool"


@pytest.mark.parametrize("environment", [{"PATH": ""}, {"PATH": "/nonexistent"}, {"PATH": os.devnull}])
def test_what_no_folder_has_is_not_found(environment: dict[str, str]) -> None:
    with pytest.raises(FileNotFoundError):
        find_program("no-such-program", environment)
