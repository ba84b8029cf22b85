"""Find functions and types of a repository by words, a name, code or an error message.

Comes in: a repository (`git`, `sources`; what nobody wrote is left out by `unwanted`). On the way: `units`
cuts files by definition, `build` embeds what changed into the index's store, `query` tells what is asked,
`filters` where to look, `rank` fuses vectors, full text and names, `frames` follows a stack trace. Goes out:
`CodeAnswer` with `CodeHit`s.
"""

from lingxi.apps.code.build import UpdateReport
from lingxi.apps.code.git import BlameLine
from lingxi.apps.code.hits import CodeHit
from lingxi.apps.code.index import CodeAnswer, CodeIndex

__all__ = ["BlameLine", "CodeAnswer", "CodeHit", "CodeIndex", "UpdateReport"]
