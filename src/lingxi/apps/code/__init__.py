"""Find functions and types of a repository by words, a name, code or an error message.

Comes in: a repository (`git`, `sources`; what nobody wrote is left out by `unwanted`). On the way: `units`
cuts files by definition, `build` embeds what changed into the index's store, `query` tells what is asked,
`filters` where to look, `rank` fuses vectors, full text and names, `trust` measures what vectors count for
(`probe` asks, `sample` answers), `frames` follows a stack trace, `prune` takes out what is old. Goes out:
`CodeAnswer` with `CodeHit`s.
"""

from lingxi.apps.code.build import UpdateReport
from lingxi.apps.code.git import BlameLine
from lingxi.apps.code.hits import CodeHit
from lingxi.apps.code.index import CodeAnswer, CodeIndex
from lingxi.apps.code.prune import Pruned
from lingxi.apps.code.trust import Trust

__all__ = ["BlameLine", "CodeAnswer", "CodeHit", "CodeIndex", "Pruned", "Trust", "UpdateReport"]
