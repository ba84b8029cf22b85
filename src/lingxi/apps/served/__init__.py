"""The applications in a server: answers, code search and alignment as paths, pages and tools.

Comes in: a service, and which applications are on (`settings`). `asking`, `coding`, `aligning` fit each to
those who see an index and not the disk · `desk` threads and turns · `opened` all of them, asked for a
caller · `paths` JSON · `pages` (with `forms`, `parts`, `views`, `words`) HTML · `tools` (with `shapes`) the
Model Context Protocol.
Goes out: `Apps`, an extra of `create_app`.
"""

from lingxi.apps.served.install import Offered
from lingxi.apps.served.settings import AlignApp, AppsSettings, AskApp, CodeApp, read_apps

__all__ = ["AlignApp", "AppsSettings", "AskApp", "CodeApp", "Offered", "read_apps"]
