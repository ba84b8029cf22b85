"""Vectors in the database of one's choice: rows of id, vector and metadata behind one seam.

Comes in: ids, vectors and typed metadata. `Collection` is the face: it checks, cuts and normalises. `layout`
says how rows are kept, `filters` are conditions on metadata, `seam` is what a store must offer, `opening`
finds the one a place means: `lance`, `faiss`, `pgvector`, `qdrant`, `milvus`. Goes out: `Found`s by cosine.
"""

from lingxi.index.stores.collection import Collection
from lingxi.index.stores.filters import All, Any, Compare, Not, OneOf, Where
from lingxi.index.stores.layout import Found, Layout, Rows

__all__ = ["All", "Any", "Collection", "Compare", "Found", "Layout", "Not", "OneOf", "Rows", "Where"]
