"""docker-compose.yml and the Dockerfile, read: what must be true of them before anything is started."""

from __future__ import annotations

import re
from typing import Any

import pytest

from jobs.settings import Settings
from support.compose import COMPOSE, DOCKERFILE, GPU, ROOT, Missing, image, load, seconds

SECRETS = {"IMPRINT_API_KEYS": "key-1", "POSTGRES_PASSWORD": "secret-2", "REDIS_PASSWORD": "secret-3"}
OURS = ("api", "worker")
ALL = ("api", "worker", "redis", "postgres")
READ_ELSEWHERE = {"IMPRINT_INSECURE", "IMPRINT_LOG_LEVEL"}  # by api/__main__.py, not by Settings


@pytest.fixture
def compose() -> dict[str, Any]:
    return load(SECRETS)


def test_there_are_these_four_services(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == set(ALL)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_missing_secret_stops_everything_and_says_where_to_set_it(secret: str) -> None:
    with pytest.raises(Missing, match=rf"{secret}: .*\.env"):
        load({**SECRETS, secret: ""})


def test_no_secret_has_a_default() -> None:
    text = COMPOSE.read_text()
    for name in re.findall(r"\$\{(\w*(?:PASSWORD|KEYS)\w*)", text):
        assert f"${{{name}:?" in text
        assert f"${{{name}:-" not in text


def test_the_example_of_env_names_every_variable_and_no_other() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text())) - {"IMPRINT_TAG"}
    explained = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / "docker" / "env.example").read_text(), re.MULTILINE))
    assert explained == used


@pytest.mark.parametrize("name", ALL)
def test_nobody_is_root_or_can_become_it(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["user"] not in ("", "root", "0", "0:0")
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert "privileged" not in service and "cap_add" not in service


@pytest.mark.parametrize("name", OURS)
def test_the_images_themselves_are_not_root(compose: dict[str, Any], name: str) -> None:
    """Also where somebody runs them without Compose; and the ids agree, so that both can write the same volume."""
    assert image(name).user == "imprint"
    created = " ".join(image(name).runs)
    uid, gid = compose["services"][name]["user"].split(":")
    assert f"--uid {uid}" in created and f"--gid {gid}" in created


@pytest.mark.parametrize("name", ALL)
def test_every_service_is_checked_limited_and_restarted(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service.get("healthcheck", {}).get("test") or image(name).health
    assert service["restart"] == "unless-stopped"
    limits = service["deploy"]["resources"]["limits"]
    assert re.fullmatch(r"\d+[mg]", limits["memory"]) and limits["pids"] > 0


def test_the_named_volumes_are_declared_and_all_of_them_are_used(compose: dict[str, Any]) -> None:
    named = {mount.split(":")[0] for service in compose["services"].values() for mount in service["volumes"]}
    assert {name for name in named if "/" not in name} == set(compose["volumes"])


def test_what_must_survive_lies_on_a_volume(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in OURS:
        assert f"home:{services[name]['environment']['IMPRINT_HOME']}" in services[name]["volumes"]
    assert "postgres:/var/lib/postgresql/data" in services["postgres"]["volumes"]
    command = services["redis"]["command"]
    assert f"redis:{command[command.index('--dir') + 1]}" in services["redis"]["volumes"]


def test_pictures_cannot_be_written_unless_asked_for(compose: dict[str, Any]) -> None:
    assert "./data:/data:ro" in compose["services"]["worker"]["volumes"]
    asked = load({**SECRETS, "IMPRINT_PICTURES": "/srv/photos", "IMPRINT_PICTURES_MODE": "rw"})
    assert "/srv/photos:/data:rw" in asked["services"]["worker"]["volumes"]


def test_the_broker_keeps_what_it_is_given(compose: dict[str, Any]) -> None:
    words = compose["services"]["redis"]["command"]
    settings = {word[2:]: words[at + 1] for at, word in enumerate(words) if word.startswith("--")}
    assert settings["appendonly"] == "yes"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["maxmemory-clients"] == "0"
    assert settings["requirepass"] == SECRETS["REDIS_PASSWORD"]


def test_only_the_api_can_be_reached_and_only_from_this_machine(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["api"]["ports"] == ["127.0.0.1:8000:8000"]
    assert [name for name in ALL if "ports" in services[name]] == ["api"]
    assert compose["networks"]["inside"]["internal"] is True
    assert services["postgres"]["networks"] == services["redis"]["networks"] == ["inside"]


@pytest.mark.parametrize("name", OURS)
def test_they_wait_for_database_and_broker(compose: dict[str, Any], name: str) -> None:
    needs = compose["services"][name]["depends_on"]
    assert needs == {"postgres": {"condition": "service_healthy"}, "redis": {"condition": "service_healthy"}}


def test_a_worker_is_given_longer_to_stop_than_it_gives_its_trainer(compose: dict[str, Any]) -> None:
    """SIGTERM to the worker, the trainer's checkpoint within the grace, then a write to the database."""
    worker = compose["services"]["worker"]
    grace = float(worker["environment"]["IMPRINT_GRACE_SECONDS"])
    assert grace == Settings.model_fields["grace_seconds"].default
    assert seconds(worker["stop_grace_period"]) >= grace + 10


def test_the_api_is_given_longer_to_stop_than_it_gives_its_requests(compose: dict[str, Any]) -> None:
    from api.__main__ import GRACE_SECONDS

    assert seconds(compose["services"]["api"]["stop_grace_period"]) > GRACE_SECONDS


def test_workers_can_be_scaled(compose: dict[str, Any]) -> None:
    """`--scale worker=3`: nothing in the service may exist only once."""
    worker = compose["services"]["worker"]
    assert not {"container_name", "hostname", "ports"} & set(worker)


@pytest.mark.parametrize("name", OURS)
def test_every_setting_is_one_that_is_read(compose: dict[str, Any], name: str) -> None:
    known = {f"IMPRINT_{field.upper()}" for field in Settings.model_fields} | READ_ELSEWHERE
    given = {**image(name).environment, **compose["services"][name]["environment"]}
    assert {variable for variable in given if variable.startswith("IMPRINT_")} <= known


def test_the_worker_is_not_given_the_keys_of_the_api(compose: dict[str, Any]) -> None:
    assert "IMPRINT_API_KEYS" not in compose["services"]["worker"]["environment"]


def test_the_gpu_override_adds_gpus_and_takes_nothing_away(compose: dict[str, Any]) -> None:
    merged = load(SECRETS, COMPOSE, GPU)
    worker, plain = merged["services"]["worker"], compose["services"]["worker"]
    (device,) = worker["deploy"]["resources"].pop("reservations")["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert worker["environment"].pop("NVIDIA_DRIVER_CAPABILITIES") == "compute,utility"
    assert worker == plain
    assert {name: merged["services"][name] for name in ALL if name != "worker"} == {
        name: compose["services"][name] for name in ALL if name != "worker"
    }


def test_the_end_images_hold_no_compiler_and_no_installer() -> None:
    """They start from the slim image, install nothing, and copy what the build stage made."""
    for name in OURS:
        runs = " ".join(image(name).runs)
        assert "-slim-" in image(name).base
        assert "apt-get" not in runs and "pip install" not in runs
        assert "pip uninstall --yes pip" in runs


def test_the_build_uses_the_pinned_versions() -> None:
    installs = [run for run in image("build").runs if "pip install" in run]
    assert installs
    assert all("--constraint constraints.txt" in run for run in installs)


def test_nothing_but_the_listed_files_is_sent_to_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    wanted = {line[1:] for line in lines if line.startswith("!")}
    assert not wanted & {".env", ".git", "data", "imprint-home", ".venv", "tests"}
    packages = {"api", "worker", "jobs", "ssl_core", "imprint", "migrations"}
    assert packages | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} == wanted


def test_the_file_starts_what_the_images_say() -> None:
    """Compose overrides neither command nor entrypoint of our images: there is one place to read what runs."""
    for name in OURS:
        assert not {"command", "entrypoint"} & set(load(SECRETS)["services"][name])
        assert image(name).command[:2] == ["python", "-m"]
    assert "ENTRYPOINT" not in DOCKERFILE.read_text()


@pytest.mark.parametrize("name", OURS)
def test_temporary_files_go_to_the_volume(compose: dict[str, Any], name: str) -> None:
    """What is large has no place in the memory that /tmp is, and none in the root filesystem."""
    for variable in ("TMPDIR", "XDG_CACHE_HOME"):
        assert image(name).environment[variable].startswith(f"{compose['services'][name]['environment']['IMPRINT_HOME']}/")
    assert compose["services"][name]["tmpfs"] == ["/tmp:size=64m"]


@pytest.mark.parametrize("name", OURS)
def test_logs_are_for_programs_unless_asked(compose: dict[str, Any], name: str) -> None:
    assert compose["services"][name]["environment"]["IMPRINT_LOG_FORMAT"] == "json"
    asked = load({**SECRETS, "IMPRINT_LOG_FORMAT": "text"})["services"][name]["environment"]
    assert Settings(log_format=asked["IMPRINT_LOG_FORMAT"]).log_format == "text"
