"""The pages people use: search, compare, status; in English and 中文, with or without a script.

Comes in: the service. Goes out: HTML. `front` who is shown a page, and what binds the browser · `routes`
addresses · `forms` what was asked, typed · `searching`, `comparing`, `figures` what the three pages show ·
`passages`, `orders`, `sides` parts of it · `words` every phrase in both languages · `render` templates to
answers · `beside`, `uploads` pictures and sound: shown, and sent as an example.
"""

from lingxi.serve.pages.front import POLICY
from lingxi.serve.pages.routes import install

__all__ = ["POLICY", "install"]
