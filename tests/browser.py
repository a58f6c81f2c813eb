"""Chromium for tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    not CHROMIUM and "REPLIGAN_NEEDS_BROWSER" not in os.environ, reason="no Chromium on this machine"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window, closed at the end."""
    assert CHROMIUM, "REPLIGAN_NEEDS_BROWSER is set, but Chromium is not installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
