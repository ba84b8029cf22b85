"""The sample and its verdicts in the shapes of other tools: Argilla's records, Label Studio's tasks.

`argilla` is what `dataset.records.to_json` writes and `from_json` reads (Argilla 2): a list of records with
fields, suggestions and responses. `label-studio` is Label Studio's list of tasks with annotations; its
labelling configuration is written beside it as XML. Both carry the digest of the answer as `seen`, and the
verdicts on that answer alone: what was said of a row before it was mended stays here.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from lingxi.curate.review.shown import Shown
from lingxi.curate.review.verdicts import (
    REASONS,
    Said,
    Verdicts,
    export_verdicts,
    import_verdicts,
    said_of,
    taker,
)
from lingxi.errors import InputError

Format = Literal["jsonl", "argilla", "label-studio"]
_FIELDS = ("instruction", "query", "answer")
_ABOUT = ("stratum", "source", "query_language", "document_language", "dropped")
_QUESTIONS = ("verdict", "reason", "fixed")
_Row = Mapping[str, Any]


def export_as(form: Format, sample: Sequence[Shown], verdicts: Verdicts, path: Path) -> int:
    """Write verdicts (`jsonl`), or the whole sample with those on it; returns how many rows or verdicts."""
    if form == "jsonl":
        return export_verdicts(verdicts, path)
    said: dict[str, list[Said]] = defaultdict(list)
    for one in verdicts.all():
        said[one.row].append(one)
    on = {shown.id: [one for one in said[shown.id] if one.seen in ("", shown.seen)] for shown in sample}
    if form == "argilla":
        found = [_record(shown, on[shown.id]) for shown in sample]
    else:
        found = [_task(number, shown, on[shown.id]) for number, shown in enumerate(sample, 1)]
        path.with_suffix(".xml").write_text(labelling(), "utf-8")
    path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return len(found)


def import_as(form: Format, verdicts: Verdicts, path: Path) -> int:
    """Take in the verdicts of a file of that form; returns how many.

    Raises InputError naming the record at fault; what stood before it is taken in. A verdict with a time is
    taken in only where none was given here since.
    """
    if form == "jsonl":
        return import_verdicts(verdicts, path)
    read: Callable[[_Row], Iterator[Said]] = _of_record if form == "argilla" else _of_task
    count, take = 0, taker(verdicts)
    for number, row in enumerate(_rows(path), 1):
        try:
            for said in read(row):
                take(said)
                count += 1
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, InputError) as problem:
            raise InputError(
                f"{path}: record {number} is none of {form} ({problem})", "export it again, with responses"
            ) from None
    return count


def labelling() -> str:
    """Label Studio's labelling configuration of a review."""
    reasons = "".join(f'    <Choice value="{reason}"/>\n' for reason in REASONS)
    return f"""<View>
  <Text name="instruction" value="$instruction"/>
  <Header value="Query ($query_language)"/>
  <Text name="query" value="$query"/>
  <Header value="Answer ($document_language)"/>
  <Text name="answer" value="$answer"/>
  <Choices name="verdict" toName="answer" choice="single" required="true" showInline="true">
    <Choice value="accept" hotkey="a"/>
    <Choice value="reject" hotkey="r"/>
    <Choice value="fix" hotkey="f"/>
  </Choices>
  <Choices name="reason" toName="answer" choice="single" visibleWhen="choice-selected"
           whenTagName="verdict" whenChoiceValue="reject">
{reasons}  </Choices>
  <TextArea name="fixed" toName="answer" value="$answer" maxSubmissions="1" editable="true"
            visibleWhen="choice-selected" whenTagName="verdict" whenChoiceValue="fix"/>
</View>
"""


def _record(shown: Shown, said: Sequence[Said]) -> dict[str, Any]:
    metadata = {key: getattr(shown, key) for key in (*_ABOUT, "seen") if getattr(shown, key) is not None}
    responses: dict[str, list[dict[str, str]]] = defaultdict(list)
    for one in said:
        for question in _QUESTIONS:
            if (value := getattr(one, question)) is not None:
                responses[question].append({"value": value, "user_id": _user(one.reviewer)})
    # Argilla knows users by id alone: the names stand in the metadata, so that they come back.
    return {
        "id": shown.id,
        "fields": {key: getattr(shown, key) for key in _FIELDS},
        "metadata": metadata | ({"reviewers": [one.reviewer for one in said]} if said else {}),
        "suggestions": {"fixed": {"value": shown.answer, "score": None, "agent": "lingxi"}},
        "responses": dict(responses),
        "vectors": {},
    }


def _of_record(row: _Row) -> Iterator[Said]:
    about = row.get("metadata") or {}
    names = {_user(name): name for name in about.get("reviewers", ())}
    answers: dict[str, dict[str, Any]] = defaultdict(dict)
    for question in _QUESTIONS:
        for one in row["responses"].get(question) or ():
            if one.get("status", "submitted") == "submitted":
                answers[str(one["user_id"])][question] = one["value"]
    for user, own in answers.items():
        if "verdict" in own:
            yield _said(str(row["id"]), names.get(user, user), {**own, "seen": about.get("seen")})


def _user(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"lingxi:reviewer:{name}"))


def _task(number: int, shown: Shown, said: Sequence[Said]) -> dict[str, Any]:
    data = {key: getattr(shown, key) for key in (*_FIELDS, *_ABOUT, "seen")}
    return {
        "id": number,
        "data": {"row": shown.id, **data},
        "annotations": [_annotation(one) for one in said],
        "predictions": [],
    }


def _annotation(said: Said) -> dict[str, Any]:
    values: tuple[tuple[str, str, str, str | None], ...] = (
        ("verdict", "choices", "choices", said.verdict),
        ("reason", "choices", "choices", said.reason),
        ("fixed", "textarea", "text", said.fixed),
    )
    return {
        "completed_by": {"email": said.reviewer},
        "created_at": datetime.fromtimestamp(said.at, UTC).isoformat(),
        "result": [
            {"from_name": name, "to_name": "answer", "type": kind, "value": {key: [value]}}
            for name, kind, key, value in values
            if value is not None
        ],
    }


def _of_task(row: _Row) -> Iterator[Said]:
    for one in row["annotations"]:
        if one.get("was_cancelled"):
            continue
        own = {
            item["from_name"]: (item["value"].get("choices") or item["value"]["text"])[0]
            for item in one["result"]
            if item["from_name"] in _QUESTIONS
        }
        by = one["completed_by"]
        name = str(by.get("email") or by["id"]) if isinstance(by, dict) else str(by)
        at, seen = one.get("updated_at") or one.get("created_at"), row["data"].get("seen")
        if "verdict" in own:
            yield _said(row["data"]["row"], name, {**own, "seen": seen, "at": _seconds(at) if at else 0.0})


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()


def _said(row: str, reviewer: str, own: Mapping[str, Any]) -> Said:
    """A verdict of another tool: a reason belongs to a reject, a text to a fix, whatever else was filled."""
    found = said_of({**own, "row": row, "reviewer": reviewer})
    return replace(
        found,
        reason=found.reason if found.verdict == "reject" else None,
        fixed=found.fixed if found.verdict == "fix" else None,
    )


def _rows(path: Path) -> list[_Row]:
    """The objects of a JSON list, or of JSON Lines."""
    if not path.is_file():
        raise InputError(f"no file at {path}", "correct the path")
    text = path.read_text("utf-8")
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else [
            json.loads(line) for line in text.splitlines() if line.strip()
        ]  # fmt: skip
    except ValueError as problem:
        raise InputError(f"{path} is no JSON ({problem})", "export it again") from None
    if not all(isinstance(row, dict) for row in found):
        raise InputError(f"{path} holds something other than records", "export it again")
    return list(found)
