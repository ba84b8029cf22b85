"""sentence-transformers behind a plain FastAPI, as tutorials have it: what serve_load.py compares with.

python benchmarks/plain_server.py MODEL_DIRECTORY PORT
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer


class Asked(BaseModel):
    """OpenAI's request, as far as it is asked here."""

    model: str
    input: list[str]


def make_app(directory: str) -> FastAPI:
    """An application whose handler FastAPI runs in its pool of threads."""
    model = SentenceTransformer(directory, device="cpu")
    app = FastAPI()

    @app.post("/v1/embeddings")
    def embed(asked: Asked) -> dict[str, object]:
        vectors = model.encode(asked.input, normalize_embeddings=True)
        data = [{"object": "embedding", "index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)]
        return {"object": "list", "data": data, "model": asked.model}

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
