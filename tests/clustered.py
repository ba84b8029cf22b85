"""A toy model served from two Ray nodes: `python clustered.py FOLDER` asks until both have answered."""

import asyncio
import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import ray
from ray import serve

from lingxi.serve.app import create_app
from lingxi.serve.cluster import run
from lingxi.serve.opening import Plan, open_service
from lingxi.serve.operations import Operations
from lingxi.serve.settings import Settings

PORT = 8123


@dataclass(frozen=True)
class Named:
    """An extra that puts the node's id on answers, so that the test sees who answered."""

    def __call__(self, app, service):
        node = ray.get_runtime_context().get_node_id()

        @app.get("/node", include_in_schema=False)
        async def who():
            await asyncio.sleep(0.2)
            return {"node": node}


def application(plan, settings, place):
    around = Operations(settings, place)
    service = open_service(plan, settings, around.watch)
    return create_app(service, settings, extras=[Named(), around.install])


def ask(path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def main(folder):
    ray.init(address="127.0.0.1:6399", log_to_driver=False)
    plan = Plan(embedders={"toy": folder}, rerankers={})
    settings = Settings(port=PORT, self_check=False)
    # Two nodes of one machine have one port between them: the head answers there.
    run(
        settings, partial(application, plan), replicas=2, cores=1, ongoing=1, everywhere=False, blocking=False
    )
    print("nodes", sum(node["Alive"] for node in ray.nodes()))
    found, answers, end = set(), set(), time.monotonic() + 90
    # A proxy prefers the replica on its own node until that one is busy.
    with ThreadPoolExecutor(8) as pool:
        while len(found) < 2 and time.monotonic() < end:
            found |= {said["node"] for status, said in pool.map(lambda _: ask("/node"), range(8))}
        body = {"input": "hello", "encoding_format": "float"}
        for status, said in pool.map(lambda _: ask("/v1/embeddings", body), range(40)):
            assert status == 200, said
            answers.add(tuple(said["data"][0]["embedding"]))
    print("answered", len(found), "vectors", len(answers))
    print("refused", ask("/v1/embeddings", {"input": 3}))
    serve.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
