"""A server where an `Embedder` and a `Reranker` would stand: `Client`, and `AsyncClient` for an event loop.

Comes in: texts, as the models in process take them. Goes out: the same arrays, from any server of OpenAI's
`/v1/embeddings` and Cohere's `/v1/rerank`; passages, segments and fingerprints where the server is lingxi.
`plans` say what is asked and how answers are read · `sending` how long is waited · `faces` send and wait.
"""

from lingxi.client.faces import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
