"""Serve: models and an index over HTTP, every dialect on one port.

Comes in: an embedder, a reranker, adapters of them, an index. Goes out: vectors, scores and passages, equal to
those in process. `settings` what a server is told · `contract` the words of the seam · `refusal` how a request is
refused · `queue` turns of clients and batches · `service` what all dialects ask · `dialects` their shapes ·
`app` the FastAPI application.
"""
