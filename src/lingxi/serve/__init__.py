"""Serve: models and an index over HTTP, every dialect on one port.

Comes in: embedders, rerankers, adapters of them, an index. Goes out: vectors, scores and passages, equal to
those in process. `settings` what a server is told · `contract` the words of the seam · `refusal` how a
request is refused · `turns`, `queue` whose work is next, and its batches · `served`, `models` a model under
its name, `seeing` one that looks and listens · `proof` its self-check · `service` what all dialects ask ·
`searching`, `shelf` an index by words or by example, and what is shown of it · `dialects` their shapes ·
`attend` one request's work, ended with its client · `app` the FastAPI application.
"""
