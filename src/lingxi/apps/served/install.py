"""The applications put into a server."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from lingxi.apps.served import pages, paths
from lingxi.apps.served.opened import open_apps
from lingxi.apps.served.settings import AppsSettings
from lingxi.serve.app import add_paths
from lingxi.serve.attend import attending
from lingxi.serve.dialects import own
from lingxi.serve.service import Service


@dataclass(frozen=True)
class Offered:
    """An extra of `create_app`, which stands behind the pages: workers make it anew from its settings.

    Raises InputError, StoreError or MissingExtraError where an application cannot be opened.
    """

    settings: AppsSettings

    def __call__(self, app: FastAPI, service: Service) -> None:
        """Add the paths, and the pages where there are any."""
        apps, attend = open_apps(self.settings, service), attending(service.settings.deadline_s)
        add_paths(app, paths.router(apps, attend), own)
        if hasattr(app.state, "pages"):
            pages.install(app, apps, attend)
