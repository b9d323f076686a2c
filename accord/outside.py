"""Scorers that a run file defines itself: a process with an environment of its own, or a model behind an endpoint.

A name defined here works wherever a scorer can be named.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from accord.section import Positive, Seconds, Section

Rubric = Literal["unified_reward", "yes_no", "five_levels"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # it becomes a folder


class ExternalConfig(Section):
    """A scorer in a process of its own, which speaks Accord's protocol over a pipe."""

    command: tuple[str, ...] = Field(description="the program and its arguments; no shell reads it")
    environment: dict[str, str] = Field({}, description="environment variables for it, besides those it inherits")
    batch_size: Positive = Field(16, description="images per request")
    start_seconds: Seconds = Field(60.0, description="from its start to its card")
    load_seconds: Seconds = Field(900.0, description="to load its model")
    silence_seconds: Seconds = Field(300.0, description="without a score, while it has images")
    max_restarts: Annotated[int, Field(ge=0)] = Field(
        3, description="starts again after it died or fell silent; the count begins anew with every score"
    )

    @field_validator("command")
    @classmethod
    def _has_a_program(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not value[0]:
            raise ValueError('needs a program, for example command = ["venv/bin/python", "my_scorer.py"]')
        return value


class JudgeConfig(Section):
    """A vision-language model behind an OpenAI-compatible endpoint, asked about one image at a time."""

    url: str = Field(
        "http://127.0.0.1:8000/v1", description="the endpoint; images leave this machine if it is elsewhere"
    )
    model: str = Field(description="the name that the endpoint serves it under")
    revision: str = Field("", description="which weights the endpoint serves, in your words; part of the version")
    rubric: Rubric = Field("yes_no", description="what is asked, and how the answer becomes a score")
    question: str = Field("", description="instead of the rubric's own; {prompt} stands for the image's prompt")
    longest_side: Positive | None = Field(None, description="larger images are made smaller first, in pixels")
    key_variable: str = Field("", description="the environment variable that holds the API key; empty: no key is sent")
    concurrency: Positive = Field(8, description="requests at a time, per worker process")
    timeout_seconds: Seconds = Field(120.0, description="for one answer")
    max_retries: Annotated[int, Field(ge=0)] = Field(8, description="of one request, each after a longer pause")
    max_requests: Positive | None = Field(None, description="for the whole run, retries included; absent: no limit")
    max_tokens: Positive | None = Field(None, description="for the whole run, as the endpoint counts; absent: no limit")

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"needs http:// or https:// and a host, not '{value}'")
        if parts.username or parts.password or parts.query:
            raise ValueError("holds a password or a query; give the key by key_variable, so that no file holds it")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _key_travels_encrypted(self) -> JudgeConfig:
        if self.key_variable and not self.is_local and self.url.startswith("http:"):
            raise ValueError(f"the key would travel unencrypted to {self.host}; use https, or leave out key_variable")
        return self

    @property
    def host(self) -> str:
        """The host that images are sent to."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is on this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


Definition = ExternalConfig | JudgeConfig
