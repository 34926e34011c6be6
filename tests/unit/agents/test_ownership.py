"""One agent at a time in a data directory."""

from pathlib import Path

import pytest

from agents.ownership import taken
from orchestra.base.errors import OrchestraError


def test_a_second_agent_is_told_and_a_later_one_is_let_in(tmp_path: Path) -> None:
    place = tmp_path / "agent data"
    with taken(place), pytest.raises(OrchestraError, match="another agent runs there"), taken(place):
        pass
    with taken(place):
        pass


def test_a_place_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OrchestraError, match="cannot be used as data directory"), taken(tmp_path / "file"):
        pass
