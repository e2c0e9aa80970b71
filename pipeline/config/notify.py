"""The TOML of who is told what a run has come to."""

from __future__ import annotations

import os
import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from pipeline.config.fields import Closed, Text

Kind = Literal["failure", "promotion", "rejection"]


class Notify(Closed):
    """Who is told what a run has come to, see schedule.md. What does not arrive is a warning in the log."""

    webhook: SecretStr | None = Field(
        default=None,
        description='An address that gets one JSON object by POST, or "$NAME" of the environment variable '
        "that holds one, so that its secret stays out of this file.",
    )
    command: tuple[Text, ...] = Field(
        default=(),
        description="A program and its arguments; the same JSON is its standard input, and its parts are "
        "environment variables.",
    )
    on: tuple[Kind, ...] = Field(
        default=("failure", "promotion"),
        description="What is told: a run that failed or whose process died, a new champion, a candidate "
        "that does not become the champion.",
    )

    @field_validator("webhook", mode="after")
    @classmethod
    def _an_address(cls, webhook: SecretStr | None) -> SecretStr | None:
        text = webhook.get_secret_value() if webhook else ""
        if text and not re.match(r"https?://[^/\s]+|\$[A-Za-z_][A-Za-z0-9_]*$", text):
            # What came is not told: it may be a secret.
            raise ValueError('must be an http:// or https:// address, or "$NAME" of a variable with one')
        return webhook

    @property
    def address(self) -> str:
        """Where to; "" for nowhere.

        Raises:
            ValueError: The environment variable is not set.
        """
        text = self.webhook.get_secret_value() if self.webhook else ""
        if not text.startswith("$"):
            return text
        found = os.environ.get(text[1:], "")
        if not found.startswith(("http://", "https://")):
            state = "no http:// or https:// address" if found else "not set"
            raise ValueError(f"the environment variable {text[1:]} is {state}")
        return found
