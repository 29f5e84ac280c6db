"""Settings, read from IMPRINT_* variables once per process. docs/operations.md explains each."""

from __future__ import annotations

import ipaddress
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import ByteSize, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jobs.addresses import networks


class Settings(BaseSettings):
    """Every default suits one machine; only what differs needs a variable."""

    model_config = SettingsConfigDict(env_prefix="IMPRINT_", env_ignore_empty=True, extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    home: Path = Field(Path("imprint-home"), description="Database, jobs, encoders, logs and the bundled broker's files.")
    data_root: Path = Field(Path(), description="Folder of the pictures; nothing outside of it is read. Default: home/data.")
    database_url: str = Field("", description="sqlite:///… or postgresql://…. Default: an SQLite file in home.")
    redis_url: str = Field("", description="redis://… or redis+socket:///…. Default: the bundled broker's socket in home.")
    cache_bytes: ByteSize | None = Field(
        None,
        description="Most that decoded images may take below home, e.g. 200GiB; 0: keep none. Default: a quarter of the disk.",
    )
    upload_bytes: ByteSize = Field(ByteSize(10 * 2**30), description="Most that an uploaded ZIP may have; more get 413.")
    unpacked_bytes: ByteSize = Field(ByteSize(40 * 2**30), description="Most that its pictures may have, unpacked.")
    owner_bytes: ByteSize | None = Field(
        None, description="Most that one owner's uploaded pictures may have together; more get 413. Default: the disk's room."
    )
    upload_seconds: float = Field(6 * 3600, gt=0, description="An upload that has not arrived by then gets 408.")
    api_keys: Annotated[tuple[str, ...], NoDecode] = Field((), description="Comma-separated; empty: no key is asked for.")
    insecure: bool = Field(
        False, description="Listen beyond this machine without keys: everyone who can reach it may do everything."
    )

    log_format: Literal["json", "text"] = Field("text", description="How processes log: one JSON object a line, or for people.")

    max_queued: int = Field(1000, ge=1, description="Jobs of one owner that may be queued; more get 429.")
    rate_per_second: float = Field(0, ge=0, description="Requests that one key may make a second; 0: any number. More get 429.")
    rate_burst: int = Field(50, ge=1, description="Requests that it may make at once before that counts.")
    head_seconds: float = Field(20, gt=0, description="A connection that has not said what it wants by then is closed.")
    body_seconds: float = Field(60, gt=0, description="A body that has not arrived by then gets 408.")

    request_seconds: float = Field(
        300, gt=0, description="An answer that has not begun so long after the request's end is a 504."
    )
    import_bytes: ByteSize = Field(ByteSize(4 * 2**30), description="Most that a file of weights may have that is imported.")
    import_seconds: float = Field(3600, gt=0, description="A file of weights that has not arrived by then gets 408.")

    embed_deadline_seconds: float = Field(60, gt=0, description="A request to /embed that takes longer gets 504.")
    embed_max_pending: int = Field(1024, ge=1, description="Images that may wait to be embedded; more get 429.")
    embed_memory: ByteSize = Field(
        ByteSize(4 * 2**30), description="Most that encoders may take in the API's memory; the least recently used go first."
    )
    embed_idle_seconds: float = Field(3600, gt=0, description="An encoder that nobody used for so long leaves memory.")

    lease_seconds: float = Field(30, gt=0, description="A running job that was not heard of for so long is queued again.")
    heartbeat_seconds: float = Field(5, gt=0, description="How often a supervisor renews the lease.")
    poll_seconds: float = Field(
        0.5, gt=0, description="How often a supervisor reads its trainer's events and the user's requests."
    )
    sweep_seconds: float = Field(5, gt=0, description="How often each worker looks for lost jobs.")
    grace_seconds: float = Field(30, gt=0, description="From SIGTERM to SIGKILL when a worker stops or a job is paused.")
    cancel_grace_seconds: float = Field(6, gt=0, description="The same when a job is cancelled: its checkpoint matters less.")
    stall_seconds: float = Field(300, gt=0, description="A trainer without a step for so long (or ten median steps) is killed.")
    max_attempts: int = Field(3, ge=1, description="Attempts without progress before a job fails.")
    worker_slots: int = Field(1, ge=1, description="Jobs that one worker trains at a time.")
    trainer_command: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="JSON list; another launcher of the same command line (torchrun, Slurm). Default: python -m ssl_core."
    )

    public_url: str = Field(
        "", description="Where people reach the API, for links in trackers, e.g. https://imprint.example.org."
    )
    outbound_private: str = Field(
        "", description="Networks that webhooks and trackers may reach though they are not public: 10.0.0.0/8,…, or all."
    )
    mlflow_uri: str = Field("", description="The MLflow server that jobs mean by tracking.mlflow: true. Trusted.")
    worker_metrics: str = Field("", description="host:port where a worker answers GET /metrics; empty: nowhere.")
    otel_endpoint: str = Field("", description="OTLP/HTTP receiver of traces, e.g. http://collector:4318; empty: none.")

    @field_validator("outbound_private")
    @classmethod
    def _networks(cls, value: str) -> str:
        networks(value)  # what is none is a ValueError
        return value

    @field_validator("worker_metrics")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        if value and not re.fullmatch(r"[\w.:\[\]-]*:\d{1,5}", value):
            raise ValueError("must be host:port, for example 127.0.0.1:9101")
        return value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(key.strip() for key in value.split(",") if key.strip()) if isinstance(value, str) else value

    @field_validator("trainer_command", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if not isinstance(value, str) or not value.strip():
            return value or ()
        words = json.loads(value)  # what is no JSON is a ValueError, as pydantic expects
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError('must be a JSON list of words, for example ["torchrun", "-m", "ssl_core"]')
        return tuple(words)

    @model_validator(mode="after")
    def _below_home(self) -> Settings:
        home = self.home.expanduser().absolute()
        derived = {
            "home": home,
            "data_root": self.data_root.expanduser().absolute() if "data_root" in self.model_fields_set else home / "data",
            "database_url": self.database_url or f"sqlite:///{home / 'imprint.db'}",
            "redis_url": self.redis_url or f"redis+socket://{quote(str(home / 'run' / 'valkey.sock'))}",
        }
        given = set(self.model_fields_set)
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "__pydantic_fields_set__", given)
        return self

    @property
    def cache(self) -> Path | None:
        """Where trainers keep decoded images, or None."""
        return None if self.cache_bytes == 0 else self.home / "prepared"

    @property
    def datasets(self) -> Path:
        """Where uploaded datasets lie, each in a folder of its id; shared, as all of the home, by every API and worker."""
        return self.home / "datasets"

    @property
    def exposed(self) -> bool:
        """Whether other machines could reach the API and would need no key for it."""
        return not (_loopback(self.host) or self.api_keys or self.insecure)


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache
def get_settings() -> Settings:
    """This process's settings, read on the first call."""
    return Settings()
