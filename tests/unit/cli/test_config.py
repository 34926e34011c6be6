from pathlib import Path

import pytest

from orchestra.base.errors import OrchestraError, UsageError
from orchestra.cli.config import Config, Context, Settings, load_config, save_config, settle, with_context

TEXT = """
current-context: home
contexts:
  home: {server: 10.0.0.5:7070, namespace: web}
  far: {server: far.example:7070}
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config.yaml").write_text(TEXT)
    return {"ORCHESTRA_CONFIG": str(tmp_path / "config.yaml")}


@pytest.mark.parametrize(
    ("flags", "more", "expected"),
    [
        ({}, {}, Settings("10.0.0.5:7070", "web")),
        ({"context": "far"}, {}, Settings("far.example:7070", "default")),
        ({"namespace": "shop"}, {}, Settings("10.0.0.5:7070", "shop", True)),
        ({}, {"ORCHESTRA_SERVER": "env:1"}, Settings("env:1", "web")),
        ({"context": "far"}, {"ORCHESTRA_SERVER": "env:1"}, Settings("far.example:7070", "default")),
        ({"server": "flag:1"}, {"ORCHESTRA_SERVER": "env:1"}, Settings("flag:1", "web")),
    ],
)
def test_what_wins(
    environment: dict[str, str], flags: dict[str, str], more: dict[str, str], expected: Settings
) -> None:
    assert settle(**flags, environment={**environment, **more}) == expected


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    environment = {"ORCHESTRA_CONFIG": str(tmp_path / "none.yaml")}
    assert settle(environment=environment) == Settings("127.0.0.1:7070", "default")


def test_an_unknown_context_is_named_with_those_there_are(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r'context "away" does not exist in .*\(it has: home, far\)'):
        settle(context="away", environment=environment)


@pytest.mark.parametrize(
    "text", ["[]", "contexts: 3", "contexts: {a: 3}", "contexts: {3: {}}", "a: [", "\x00"]
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(OrchestraError) as raised:
        load_config({"ORCHESTRA_CONFIG": str(path)})
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_saving_and_loading_is_the_same(tmp_path: Path) -> None:
    config = Config(tmp_path / "deep" / "config.yaml", "a", {"a": Context("h:1", "n")})
    config = with_context(config, "b", "h:2", None)
    config = with_context(config, "a", None, "other")
    save_config(config)
    assert load_config({"ORCHESTRA_CONFIG": str(config.path)}) == config
    assert [path.name for path in config.path.parent.iterdir()] == ["config.yaml"]
