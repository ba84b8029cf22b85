"""Pictures, sound and texts as vectors of one space, with the small encoders of lingxi-nano-vl.

`MediaEmbedder` is the face: texts go to the text model untouched, pictures and sound through small networks
that were trained towards its vectors, so an index of texts made before stays good. `sounds` opens recordings
safely, `lingxi.pictures` pictures.
"""

from lingxi.media.embedder import MediaEmbedder
from lingxi.media.sounds import Sound, open_sound

__all__ = ["MediaEmbedder", "Sound", "open_sound"]
