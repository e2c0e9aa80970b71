"""Debian's Chromium, without a window, in which pages are tested."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


@contextmanager
def opened() -> Iterator[Browser]:
    """Start the browser; skips where there is none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium: make browser installs it where it may (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        # Its sandbox wants rights that root in a container lacks; what it opens is our own.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def faultless(page: Page) -> Iterator[Page]:
    """Fail where the page raises an error, or writes one to its console."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    yield page
    assert errors == []
