"""Serve: models and an index over HTTP, every dialect on one port.

Comes in: embedders, rerankers, adapters of them, an index. Goes out: vectors, scores and passages, equal to
those in process. `settings` what a server is told · `contract` the words of the seam · `refusal` how a
request is refused · `turns`, `queue` whose work is next, and its batches · `served`, `models` a model under
its name · `proof` its self-check · `service` what all dialects ask · `dialects` their shapes · `attend` one
request's work, ended with its client · `app` the FastAPI application.
"""
