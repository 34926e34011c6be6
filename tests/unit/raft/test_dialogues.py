"""The golden dialogues of tests/testdata/raft. `REWRITE=1 pytest tests/unit/raft/test_dialogues.py` writes them anew."""

import os
from pathlib import Path

import pytest

from tests.unit.raft.dialogue import Dialogue

FOLDER = Path(__file__).parents[2] / "testdata" / "raft"
FILES = sorted(FOLDER.glob("*.txt"))


def test_there_are_dialogues() -> None:
    assert len(FILES) >= 12


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_dialogue(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    actual = Dialogue().run(text)
    if os.environ.get("REWRITE") == "1":
        file.write_text(actual, encoding="utf-8")
        return
    assert actual.splitlines() == text.splitlines(), "if this is how it should be: REWRITE=1"
