"""The routes of the page Settings, and the check of the settings file as it is now."""

from __future__ import annotations

import threading

from app.config import Settings
from app.config.check_process import mistakes
from app.console.page import Answer, Page, render
from app.console.sessions import Session
from app.console.settings.values import file_of, sections_of
from app.errors import RateLimited

#: Seconds that the check of the file may take.
CHECK_LIMIT_S = 30.0


class FileCheck:
    """Checks the settings file as it is now, in a process of its own, as a reload would.

    One check runs at a time in a worker: requests that come meanwhile get its result.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held during a check, and guards _found
        self._found: list[str] = []

    def run(self) -> list[str]:
        """Return the mistakes, a line each. Raises `RateLimited` if a check takes too long."""
        is_first = self._lock.acquire(blocking=False)
        if not is_first and not self._lock.acquire(timeout=CHECK_LIMIT_S):
            raise RateLimited("A check runs already.", retry_after=2)
        try:
            if is_first:
                self._found = mistakes(limit_s=CHECK_LIMIT_S)
            return self._found
        finally:
            self._lock.release()


def settings_page(settings: Settings) -> Page:
    """Return the page, for administrators."""
    page = Page("settings", "Settings", admin_only=True)
    file_check = FileCheck()

    def show(found: list[str] | None) -> Answer:
        sections = sections_of(settings)
        return render("settings.html", sections=sections, file=file_of(), mistakes=found)

    @page.get()
    def in_force(_: Session) -> Answer:
        return show(None)

    @page.post("/check")
    def check(_: Session) -> Answer:
        return show(file_check.run())

    @page.api("settings/check", "POST")
    def check_for_script(_: Session) -> Answer:
        """Check the settings file as it is now, without a reload."""
        return {"object": "list", "data": file_check.run()}

    return page
