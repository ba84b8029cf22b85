"""A suite from one's own files: passages are the corpus, and queries are drawn from it or given.

Without queries, what an author wrote as a summary asks for what it summarises, and is taken out of the
passage: a heading for its section, the first sentence of a comment for its code, the first sentence of a
passage for the rest of it. That is easier than what users ask, so the numbers rank models, and promise
nothing of the level. With an LLM, each passage is asked about in its words.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingxi.asking import asked as ask
from lingxi.asking import endpoint
from lingxi.errors import InputError
from lingxi.evaluate.suite import SetSettings, SuiteSettings
from lingxi.parse import Skip, decode, kind_of, sentences
from lingxi.parse.segments import Segment, segments
from lingxi.parse.walk import resolve, walk
from lingxi.prompts import DEFAULT_TASK
from lingxi.records import numbered_jsonl

# A query of one word or a passage of one line measures little.
_LEAST_QUERY, _LEAST_PASSAGE = 12, 80
_COMMENT = re.compile(
    r'"""(.*?)"""|\'\'\'(.*?)\'\'\'|/\*\*?(.*?)\*/|((?:^[ \t]*(?://|#)[^\n]*\n?)+)', re.S | re.M
)
_MARKS = re.compile(r"^[ \t]*(?:\*|///?|#+|--)?[ \t]?", re.M)
_ASK = (
    "Write one question that this passage answers, in the language of the passage, without copying its "
    "words. Answer with the question alone.\n\n"
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A segment of a file, by its id `path#number`."""

    id: str
    path: str
    segment: Segment


@dataclass(frozen=True, slots=True)
class Drawn:
    """A query drawn from a passage, and what stays of the passage without it."""

    passage: Passage
    query: str
    rest: str


def own_suite(
    corpus: Path,
    out: Path,
    *,
    queries: Path | None = None,
    llm: str | None = None,
    most: int = 300,
    seed: int = 0,
) -> SuiteSettings:
    """Write a set of one's own files to `out/own` and return the suite that measures it.

    `queries` is JSON Lines of `query` and `path` (or `path:line`) of what answers it; `llm` is URL#MODEL of
    a server with OpenAI's `/chat/completions`. Raises InputError where there is nothing to ask.
    """
    passages = list(_passages(corpus, out))
    if not passages:
        raise InputError(f"{corpus}: no text, code, HTML or PDF files", "name a folder that holds some")
    texts = {passage.id: passage.segment.for_embedding() for passage in passages}
    if queries is not None:
        asked = list(_given(queries, passages, corpus))
    else:
        drawn = _drawn(passages, most, seed)
        if llm is not None:
            drawn = [Drawn(d.passage, _asked(llm, texts[d.passage.id]), texts[d.passage.id]) for d in drawn]
        texts |= {d.passage.id: d.rest for d in drawn}
        asked = [(d.query, [d.passage.id]) for d in drawn]
    if not asked:
        raise InputError(f"{corpus}: no query can be drawn from its files", "give some with --queries FILE")
    _write(out / "own", texts, asked)
    how = "given" if queries else "by-llm" if llm else "drawn"
    settings = SetSettings(
        name=f"own-{how}", task="retrieval", reader="beir", path="own", instruction=DEFAULT_TASK,
        metrics=("ndcg@10", "mrr@10", "recall@10"),
    )  # fmt: skip
    return SuiteSettings(
        name=f"own corpus, queries {how}", root=out, queries=max(most, 1), documents=len(texts), seed=seed,
        sets=(settings,),
    )  # fmt: skip


def _passages(corpus: Path, out: Path) -> Iterator[Passage]:
    for path in sorted(walk(resolve([corpus])).files):
        # An evaluation that lies among the files is no part of them.
        if Path(path).is_relative_to(out.resolve()):
            continue
        content = decode(Path(path), Path(path).read_bytes())
        if isinstance(content, Skip):
            continue
        place = Path(path).relative_to(corpus.resolve()).as_posix() if corpus.is_dir() else Path(path).name
        for number, segment in enumerate(segments(content)):
            yield Passage(f"{place}#{number}", place, segment)


def _drawn(passages: Sequence[Passage], most: int, seed: int) -> list[Drawn]:
    """Up to `most` queries by seed, no two of one wording: who asks twice the same has two right answers."""
    found: dict[str, Drawn] = {}
    for passage in random.Random(seed).sample(passages, len(passages)):
        drawn = draw_query(passage)
        if drawn and drawn.query.casefold() not in found:
            found[drawn.query.casefold()] = drawn
        if len(found) == most:
            break
    return sorted(found.values(), key=lambda d: d.passage.id)


def draw_query(passage: Passage) -> Drawn | None:
    """The summary that an author wrote into a passage, and the rest of it; None where there is none."""
    text, title = passage.segment.text, passage.segment.title
    if kind_of(Path(passage.path))[0] == "code":
        return _from_comment(passage, text)
    heading = title.split(" > ")[-1]
    if heading and heading in text[: len(heading) + 8]:
        rest = text.split("\n", 1)[1].strip() if "\n" in text else ""
        return _fit(passage, heading, rest)
    spans = sentences(text)
    if len(spans) < 2:
        return None
    return _fit(passage, text[spans[0].start : spans[0].end], text[spans[1].start :])


def _from_comment(passage: Passage, text: str) -> Drawn | None:
    found = _COMMENT.search(text)
    if found is None:
        return None
    said = _MARKS.sub("", next(part for part in found.groups() if part is not None)).strip()
    first = sentences(said)[:1]
    query = said[first[0].start : first[0].end] if first else ""
    return _fit(passage, " ".join(query.split()), text[: found.start()] + text[found.end() :])


def _fit(passage: Passage, query: str, rest: str) -> Drawn | None:
    query, rest = query.strip(" .:。"), rest.strip()
    return Drawn(passage, query, rest) if len(query) >= _LEAST_QUERY and len(rest) >= _LEAST_PASSAGE else None


def _given(queries: Path, passages: Sequence[Passage], corpus: Path) -> Iterator[tuple[str, list[str]]]:
    known = {passage.path for passage in passages}
    for number, row in numbered_jsonl(queries):
        query, place = row.get("query"), row.get("path")
        if not isinstance(query, str) or not isinstance(place, str):
            raise InputError(f"{queries}:{number}: `query` and `path` are wanted", "mend or remove the line")
        path, _, line = place.rpartition(":") if re.search(r":\d+$", place) else (place, "", "")
        if path not in known:
            raise InputError(
                f"{queries}:{number}: {path!r} is no indexed file of {corpus}", "correct the path"
            )
        right = [
            p.id for p in passages
            if p.path == path and (not line or p.segment.first_line <= int(line) <= p.segment.last_line)
        ]  # fmt: skip
        if not right:
            raise InputError(
                f"{queries}:{number}: no passage of {path!r} holds line {line}", "correct the line"
            )
        yield query, right


def _asked(llm: str, passage: str) -> str:
    url, _, model = llm.partition("#")
    body = {"model": model, "messages": [{"role": "user", "content": _ASK + passage}], "temperature": 0}
    said = ask(
        endpoint(url, "/chat/completions"),
        body,
        lambda answer: str(answer["choices"][0]["message"]["content"] or "").strip(),
        lacking="question",
        fix="check that the server runs, or leave --llm out",
        timeout=300,
    )
    if not said:
        raise InputError(f"{url}: the model {model!r} answered with nothing", "try another model")
    return said


def _write(folder: Path, texts: dict[str, str], asked: Sequence[tuple[str, list[str]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"q{number}" for number in range(len(asked))]
    _lines(folder / "corpus.jsonl", ({"id": key, "text": text} for key, text in texts.items()))
    _lines(folder / "queries.jsonl", ({"id": i, "text": q} for i, (q, _) in zip(ids, asked, strict=True)))
    judged = [f"{i}\t{document}\t1" for i, (_, right) in zip(ids, asked, strict=True) for document in right]
    (folder / "qrels.tsv").write_text("\n".join(judged) + "\n", "utf-8")


def _lines(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
