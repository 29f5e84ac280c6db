"""`imprint keys`, on a real database; and keys in clients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imprint import Client, cli
from imprint.errors import ImprintError, UsageError
from jobs.database import connect
from jobs.keys import Keys
from jobs.secret import new_secret, well_formed


@pytest.fixture
def keys(tmp_path: Path):
    """run(words) -> standard output; raises what the command raises."""

    def run(*words: str) -> str:
        result = CliRunner().invoke(cli.app, ["keys", *words, "--home", str(tmp_path)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


class TestCommand:
    def test_makes_lists_and_revokes(self, keys, tmp_path: Path) -> None:
        secret = keys("create", "alice", "--expires", "90d").strip()
        assert well_formed(secret), "nothing but the key, so that it can go into a variable"
        made = json.loads(keys("create", "ci", "--owner", "alice", "--scope", "submit", "--json"))
        assert well_formed(made["key"]) and made["scopes"] == ["submit"] and made["owner"] == "alice"
        listed = [json.loads(line) for line in keys("list", "--json").splitlines()]
        assert [(each["name"], each["state"]) for each in listed] == [("ci", "valid"), ("alice", "valid")]
        assert all(each not in keys("list", "--json") + keys("list") for each in (secret, made["key"]))
        assert "alice" in keys("revoke", "alice")
        assert "revoked" in keys("list") and secret[:12] in keys("list")
        (record,) = [each for each in Keys(connect(f"sqlite:///{tmp_path}/imprint.db")).all() if each.name == "alice"]
        assert record.expires_at is not None and (record.expires_at - record.created_at).days == 90

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("create", "a b"), "name = 'a b'"),
            (("create", "a", "--scope", "root"), "choose among read, submit, metrics, admin"),
            (("create", "a", "--expires", "soon"), "'soon' is not a time"),
            (("create", "a", "--expires", "0d"), "'0d' is not a time"),
            (("revoke", "nobody"), "no valid key 'nobody'"),
        ],
    )
    def test_what_is_wrong_is_said(self, keys, words: tuple[str, ...], said: str) -> None:
        with pytest.raises(ImprintError, match=said):
            keys(*words)

    def test_a_name_twice(self, keys) -> None:
        keys("create", "a")
        with pytest.raises(UsageError, match="revoke it first"):
            keys("create", "a")

    def test_without_keys(self, keys) -> None:
        assert "imprint keys create" in keys("list")


class TestClient:
    def test_a_mistyped_key_is_noticed_before_anything_is_sent(self, server) -> None:
        good = new_secret()
        for wrong in (good[:-1] + ("a" if good[-1] != "a" else "b"), good[:-1], good + " "):
            with pytest.raises(UsageError, match="mistyped") as caught:
                Client(server.url, wrong)
            assert wrong[12:].strip() not in str(caught.value)
        assert server.seen == []

    def test_keys_of_any_other_form_are_sent(self, server) -> None:
        for key in (new_secret(), "open-sesame"):
            with Client(server.url, key) as client:
                client.ready()
            assert server.seen[-1].headers["authorization"] == f"Bearer {key}"

    def test_sharing(self, server) -> None:
        server.say({"body": {"id": "job_1", "status": "queued"}})
        with Client(server.url) as client:
            client.share("job_1", False)
        assert (server.seen[0].method, server.seen[0].path, server.seen[0].json()) == ("PATCH", "/jobs/job_1", {"shared": False})
