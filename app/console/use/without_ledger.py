"""The page Use where there is no ledger: it needs no package of the database."""

from __future__ import annotations

from app.config import Settings
from app.console.page import Answer, Page, render
from app.console.sessions import Session


def use_page_without_ledger(settings: Settings) -> Page:
    """Return the page that says how to have a ledger, and how to block without one."""
    page = Page("use", "Use", admin_only=True)

    @page.get()
    def show(_: Session) -> Answer:
        blocked = sorted(settings.blocked_keys), sorted(settings.blocked_users)
        return render("use_without_ledger.html", blocked_keys=blocked[0], blocked_users=blocked[1])

    return page
