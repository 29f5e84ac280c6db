"""Servers by name: a file for its user alone, keys that are never shown, and which server a command goes to."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imprint import cli
from imprint.errors import UsageError
from imprint.profiles import Profile, Profiles, path

KEY = "a-secret-that-nobody-sees"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)  # where no `imprint up` is
    return tmp_path / "config" / "imprint" / "profiles.json"


def run(*words: str, given: str = "") -> tuple[str, str]:
    result = CliRunner().invoke(cli.app, list(words), input=given)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout, result.stderr


class TestFile:
    def test_is_for_its_user_alone(self, config: Path) -> None:
        before = os.umask(0)
        try:
            run("profile", "add", "lab", "http://lab:8000", "--key-stdin", given=KEY + "\n")
        finally:
            os.umask(before)
        assert path() == config and stat.S_IMODE(config.stat().st_mode) == 0o600
        assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
        assert [each.name for each in config.parent.iterdir()] == ["profiles.json"]
        assert json.loads(config.read_text()) == {
            "current": "lab",
            "profiles": {"lab": {"url": "http://lab:8000", "api_key": KEY}},
        }

    def test_one_that_others_can_read_is_refused(self, config: Path) -> None:
        run("profile", "add", "lab", "http://lab:8000")
        config.chmod(0o644)
        with pytest.raises(UsageError, match="others can read it") as caught:
            run("profile", "list")
        assert caught.value.hint == f"chmod 600 {config}"

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"profiles": {"a": {}}}'])
    def test_a_damaged_one_is_told(self, config: Path, content: str) -> None:
        config.parent.mkdir(parents=True)
        config.write_text(content)
        config.chmod(0o600)
        with pytest.raises(UsageError, match="cannot be read"):
            Profiles()

    @pytest.mark.parametrize(
        ("name", "url"), [("a b", "http://x"), ("", "http://x"), ("a", "lab:8000"), ("a", "http://key@lab"), ("a", "ftp://x")]
    )
    def test_what_is_no_profile(self, name: str, url: str) -> None:
        with pytest.raises(UsageError, match="is not a"):
            Profiles().put(Profile(name, url))


class TestCommands:
    def test_the_key_is_never_shown(self) -> None:
        shown = [*run("profile", "add", "lab", "http://lab:8000", "--key-stdin", given=KEY)]
        shown += [*run("profile", "list"), *run("profile", "list", "--json"), *run("profile", "use", "lab")]
        shown += [*run("profile", "remove", "lab", "--json"), repr(Profile("lab", "http://lab", KEY))]
        assert KEY not in "".join(shown) and "(key)" in shown[2]
        assert json.loads(shown[4]) == {"name": "lab", "url": "http://lab:8000", "key": True, "current": True}

    def test_add_list_use_remove(self) -> None:
        run("profile", "add", "lab", "http://lab:8000/")
        run("profile", "add", "home", "https://home")
        assert run("profile", "list")[0] == "* lab  http://lab:8000\n  home  https://home\n"
        run("profile", "use", "home")
        assert run("profile", "list")[0].splitlines()[1].startswith("* home")
        run("profile", "remove", "home")
        assert run("profile", "list")[0] == "  lab  http://lab:8000\n"
        with pytest.raises(UsageError, match="there is no profile 'home'"):
            run("profile", "use", "home")
        with pytest.raises(UsageError, match="name one profile"):
            run("profile", "use")


class TestWhichServer:
    """By --server, --profile, IMPRINT_SERVER, IMPRINT_PROFILE, the profile in use: in this order, each with its own key."""

    @pytest.fixture
    def asked(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        server.say({"body": {"data": [], "has_more": False}})
        known = Profiles()
        known.put(Profile("one", server.url, "key-one"))
        known.put(Profile("two", server.url, "key-two"))
        known.save()

        def ask(*words: str) -> str | None:
            run(*words)
            return server.seen[-1].headers.get("authorization")

        ask.url = server.url  # type: ignore[attr-defined]
        return ask

    def test_the_one_in_use(self, asked: Any) -> None:
        assert asked("jobs") == "Bearer key-one"

    def test_named(self, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IMPRINT_PROFILE", "two")
        assert asked("jobs") == "Bearer key-two"
        assert asked("--profile", "one", "jobs") == "Bearer key-one"
        monkeypatch.setenv("IMPRINT_SERVER", "http://127.0.0.1:1")
        assert asked("--profile", "one", "jobs") == "Bearer key-one"
        assert asked("--api-key", "another", "--profile", "one", "jobs") == "Bearer another"

    def test_no_key_goes_to_another_server(self, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        assert asked("jobs", "--server", asked.url) is None
        monkeypatch.setenv("IMPRINT_SERVER", asked.url)
        assert asked("jobs") is None

    def test_two_at_once_are_refused(self, asked: Any) -> None:
        with pytest.raises(UsageError, match="name two servers"):
            asked("--profile", "one", "jobs", "--server", asked.url)
