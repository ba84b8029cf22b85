"""The service: what it gives equals what the models give in process, and it proves that before it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
import torch

from lingxi import Embedder, Reranker
from lingxi.check import make_golden
from lingxi.errors import InputError, ModelError
from lingxi.model.golden import read_golden, write_golden
from lingxi.parse.sentences import sentences
from lingxi.serve.opening import Plan, named, open_service, prepared
from lingxi.serve.pieces import pieces
from lingxi.serve.refusal import Refusal
from lingxi.serve.service import Caller, Service, Wanted
from lingxi.serve.settings import Settings
from lingxi.train.adapters import write_adapter
from lingxi.train.lora import adapted, attach
from lingxi.train.settings import LoraSettings
from toys import assert_mendable, decoder_of, random_state, toy_size, write_toy

pytestmark = pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")
CALLER = Caller("a", "r")
TEXTS = ["The capital of China is Beijing.", "", "重力 attracts two bodies.", "gravity " * 300, "the cat"]
DOCUMENTS = [
    "Gravity is a force. It attracts two bodies. The cat sleeps on the chair. " * 6,
    "北京是中华人民共和国的首都。人工智能正在改变搜索引擎。" * 4,
    "",
    "one",
    "gravity" * 400,
]


def with_service(test: Callable[[Service], Awaitable[None]], *models: Any, **options: Any) -> None:
    async def main() -> None:
        service = Service(*models, **options)
        try:
            async with asyncio.timeout(60):
                await test(service)
        finally:
            await asyncio.to_thread(service.close)

    asyncio.run(main())


def gap(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max(initial=0))


def test_vectors_and_scores_are_those_of_the_process(embedder: Embedder, reranker: Reranker) -> None:
    async def test(service: Service) -> None:
        plain = await service.embed(TEXTS, Wanted(), CALLER)
        assert gap(plain.vectors, embedder.encode(TEXTS)) <= 1e-6
        assert plain.tokens == [min(n, embedder.max_seq_length) for n in embedder.count_tokens(TEXTS)]
        query = await service.embed(TEXTS, Wanted(instruction="Find it", dim=32), CALLER)
        assert gap(query.vectors, embedder.encode(TEXTS, instruction="Find it", truncate_dim=32)) <= 1e-6
        codes = await service.embed(TEXTS, Wanted(precision="int8"), CALLER)
        assert (codes.vectors == embedder.encode(TEXTS, precision="int8")).all()
        raw = await service.embed(TEXTS, Wanted(normalize=False), CALLER)
        assert gap(raw.vectors / np.linalg.norm(raw.vectors, axis=1, keepdims=True), plain.vectors) <= 1e-6
        pairs = [(TEXTS[0], text) for text in TEXTS]
        scored = await service.score(pairs, CALLER, instruction="Find it")
        assert gap(scored.scores, reranker.predict(pairs, instruction="Find it")) <= 1e-6
        assert gap(1 / (1 + np.exp(-scored.logits.astype(float))), scored.scores) <= 1e-6
        assert (await service.embed([], Wanted(), CALLER)).vectors.shape == (0, embedder.dim)
        assert (await service.score([], CALLER)).scores.shape == (0,)

    with_service(test, {"e": embedder}, {"r": reranker})


def test_token_states_end_in_the_vector(embedder: Embedder) -> None:
    async def test(service: Service) -> None:
        states = await service.token_states(TEXTS, CALLER)
        vectors = embedder.encode(TEXTS)
        for found, vector, ids in zip(states, vectors, embedder.token_ids(TEXTS), strict=True):
            assert len(found) == len(ids)
            assert gap(found[-1] / np.linalg.norm(found[-1]), vector) <= 1e-6

    with_service(test, {"e": embedder})


def test_what_is_cut_at_the_start_is_a_text_without_its_beginning(
    embedder: Embedder, reranker: Reranker
) -> None:
    text = "one two three gravity is a force that attracts two bodies"
    [ids] = embedder.token_ids([text], prompt_name="query", max_tokens=60, truncate="start")
    before = embedder.prompts["query"]
    ends = [embedder.token_ids([before + text[at:]])[0] for at in range(len(text))]
    assert ids in ends and len(ids) <= 60
    [pair] = reranker.token_ids([("cat", text)], max_tokens_per_document=5, truncate="start")
    assert pair in [reranker.token_ids([("cat", text[at:])])[0] for at in range(len(text))]
    with pytest.raises(InputError):
        embedder.token_ids([text], max_tokens=5, truncate="none")


@pytest.mark.parametrize("late", [False, True])
def test_segments_hold_every_word_and_have_their_vectors(late: bool, embedder: Embedder) -> None:
    async def test(service: Service) -> None:
        found = await service.segment(DOCUMENTS, Wanted(), CALLER, max_tokens=40, late=late)
        for text, segments in zip(DOCUMENTS, found, strict=True):
            assert all(text[s.start : s.stop] == s.text for s in segments)
            assert "".join(s.text for s in segments).replace(" ", "") == text.replace(" ", "")
        texts = [[s.text for s in segments] for segments in found]
        if late:
            wanted = np.concatenate([rows for rows in embedder.encode_segments(texts) if len(rows)])
        else:
            wanted = embedder.encode_document([text for some in texts for text in some])
        assert gap([s.vector for segments in found for s in segments], wanted) <= 1e-6

    with_service(test, {"e": embedder})


def test_pieces_end_where_sentences_end_if_they_fit() -> None:
    text = "One two three. Four five. Six seven eight nine ten. Eleven " + "twelve " * 12
    offsets = [(at, at + 1) for at in range(len(text))]
    spans = pieces(text, offsets, 30)
    assert all(len(text[a:b]) <= 30 for a, b in spans)
    ends = {span.end for span in sentences(text)}
    assert [b in ends for _, b in spans][:2] == [True, True]
    assert pieces("", [], 3) == [] and pieces("  ", [(0, 1), (1, 2)], 3) == []


def test_an_unknown_model_is_not_found_and_a_wrong_one_refused(
    embedder: Embedder, reranker: Reranker
) -> None:
    async def test(service: Service) -> None:
        for name, kind, status in (("x", "embedder", 404), ("r", "embedder", 400), ("e", "reranker", 400)):
            with pytest.raises(Refusal) as refused:
                service.card(name, kind)  # type: ignore[arg-type]
            assert refused.value.status == status and refused.value.param == "model"
        with pytest.raises(Refusal) as refused:
            await service.search("cat", CALLER)
        assert refused.value.status == 404

    with_service(test, {"e": embedder}, {"r": reranker})


def test_a_request_has_limits(embedder: Embedder) -> None:
    async def test(service: Service) -> None:
        for texts in (["a"] * 5, ["gravity " * 40] * 2):
            with pytest.raises(Refusal) as refused:
                await service.embed(texts, Wanted(), CALLER)
            assert (refused.value.status, refused.value.kind) == (413, "too_large")

    limits = Settings(max_items=4, max_request_tokens=60, max_waiting_tokens=200)
    with_service(test, {"e": embedder}, settings=limits)


def test_tokens_have_their_places_and_decode_to_the_text(embedder: Embedder) -> None:
    async def test(service: Service) -> None:
        text = "The cat 北京 🙂"
        [spans] = service.tokenize([text])
        assert [s.id for s in spans] == embedder.token_ids([text])[0]
        assert all(text[s.start : s.stop] == s.text for s in spans if not s.special)
        ids = [s.id for s in spans]
        assert service.decode([ids]) == [text]
        assert service.decode([ids], skip_specials=False) == [f"{text}{spans[-1].text}"]
        with pytest.raises(Refusal):
            service.decode([[10**6]])

    with_service(test, {"e": embedder})


def test_search_is_that_of_the_index_and_the_disk_is_not_asked(
    embedder: Embedder, reranker: Reranker, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb", reason="an index needs lancedb: pip install 'lingxi[search]'")
    from lingxi import Index

    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Garden\n\nTomatoes need sun. Water at night.\n")
    (docs / "b.md").write_text("# Gravity\n\nGravity is a force that attracts two bodies.\n")
    (tmp_path / "secret.txt").write_text("not indexed")
    index = Index.open(tmp_path / "index", embedder=embedder, reranker=reranker)
    index.add([docs])

    async def test(service: Service) -> None:
        wanted = index.search("gravity", rerank=False)
        found = await service.search("gravity", CALLER)
        told = [(str(tmp_path / h.path), h.text, h.sentence) for h in found]
        assert told == [(h.path, h.text, h.sentence) for h in wanted]
        bare = await service.search("gravity", CALLER, mark=False)
        assert [(h.path, h.sentence) for h in bare] == [(h.path, (h.start, h.end)) for h in found]
        ranked = await service.search("gravity", CALLER, rerank=True, top_k=1)
        assert ranked[0].scores["rerank"] == pytest.approx(index.search("gravity")[0].score, abs=1e-6)
        [only] = await service.search("gravity", CALLER, below=[found[-1].path])
        assert only.path == found[-1].path
        assert len(await service.search("gravity", CALLER, below=["docs"])) == len(found)
        said = set()
        for path in (tmp_path / "secret.txt", tmp_path / "nothing.txt"):
            with pytest.raises(Refusal) as refused:
                await service.search("gravity", CALLER, below=[str(path)])
            said.add(str(refused.value))
        assert len(said) == 1 and str(tmp_path) not in said.pop()
        with pytest.raises(Refusal) as refused:
            await service.search("  ", CALLER)
        assert refused.value.status == 400

    with_service(test, {"e": embedder}, {"r": reranker}, index=index)


def test_a_model_proves_itself_or_is_not_served(tmp_path: Path) -> None:
    directory = write_toy(tmp_path / "toy", "embedder")
    make_golden(directory)

    async def good(service: Service) -> None:
        assert not service.state().ready
        await service.start()
        assert service.state().ready
        service.drain()
        assert service.state().draining and not service.state().ready

    with_service(good, {"toy": Embedder(directory)})
    golden = read_golden(directory)
    assert golden is not None
    write_golden(directory, replace(golden, values=golden.values[::-1].copy()))

    async def bad(service: Service) -> None:
        with pytest.raises(ModelError) as error:
            await service.start()
        assert_mendable(error.value, "toy", "golden")
        assert not service.state().ready

    with_service(bad, {"toy": Embedder(directory)})

    async def unchecked(service: Service) -> None:
        await service.start()

    with_service(unchecked, {"toy": Embedder(directory)}, settings=Settings(self_check=False))


def test_an_adapter_is_served_beside_its_base(tmp_path: Path, embedder_directory: Path) -> None:
    size = toy_size()
    decoder = decoder_of(size, random_state(size))
    attach(decoder, LoraSettings(rank=4, alpha=8), 7)
    with torch.no_grad():
        for _, layer in adapted(decoder):
            layer.lora_B.weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
    folder = write_adapter(decoder, tmp_path / "adapter", "toy-embedder", "embedder")
    plan = Plan(
        embedders=named([f"base={embedder_directory}"]), rerankers={}, adapters={"tuned": str(folder)}
    )
    with prepared(plan) as ready:
        service = open_service(ready, Settings())

        async def test() -> None:
            base = await service.embed(TEXTS, Wanted(), CALLER)
            tuned = await service.embed(TEXTS, Wanted(), CALLER, model="tuned")
            assert gap(base.vectors, tuned.vectors) > 1e-3
            wanted = Embedder(ready.embedders["tuned"]).encode(TEXTS)
            assert gap(tuned.vectors, wanted) <= 1e-6
            assert {c.name: c.adapter_of for c in service.cards()} == {"base": None, "tuned": "base"}
            await service.start()

        asyncio.run(test())
        service.close()
    assert not Path(ready.embedders["tuned"]).exists()


def test_names_of_models_tell_no_path(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert named([str(tmp_path / "mine"), "Qwen/Qwen3-Embedding-0.6B", "b=x/y"]) == {
        "mine": str(tmp_path / "mine"),
        "Qwen/Qwen3-Embedding-0.6B": "Qwen/Qwen3-Embedding-0.6B",
        "b": "x/y",
    }
    for wrong in (["a=x", "a=y"], ["=x"], ["a="]):
        with pytest.raises(InputError):
            named(wrong)
