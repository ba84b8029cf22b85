"""What a language model is told: the two calls of Qwen3-Embedding's synthesis (its report, appendix A.1).

The first chooses who asks, what kind of question and how hard; the second writes the query. The report gives
names of the fields and leaves out their meanings, so those are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lingxi.collect.instructions import ANSWER, BACKGROUND, OVERVIEW, SEARCH, YES_OR_NO
from lingxi.config import Settings

Messages = list[dict[str, str]]


class QuestionType(Settings):
    """A kind of question: what the language model is told of it, and the instruction that its rows carry."""

    meaning: str
    instruction: str


QUESTION_TYPES: dict[str, QuestionType] = {
    "keywords": QuestionType(meaning="the few words one types into a search box", instruction=SEARCH),
    "acquire_knowledge": QuestionType(
        meaning="a question for a fact or an explanation that the passage gives", instruction=ANSWER
    ),
    "summary": QuestionType(
        meaning="a request whose answer is the main points of the whole passage", instruction=OVERVIEW
    ),
    "yes_or_no": QuestionType(
        meaning="a question that the passage settles by yes or no", instruction=YES_OR_NO
    ),
    "background": QuestionType(
        meaning="a question for the history, causes or setting of what the passage speaks of",
        instruction=BACKGROUND,
    ),
}
DIFFICULTIES: dict[str, str] = {
    "high_school": "words and knowledge of a pupil; one fact is enough to answer",
    "university": "terms of the field; the answer takes understanding of the passage",
    "phd": "the words of an expert; the answer takes several statements of the passage together",
}
PERSONAS: tuple[str, ...] = (
    "a secondary school pupil who writes a report",
    "a parent of small children",
    "a nurse on a hospital ward",
    "a physician who looks up a treatment",
    "a software engineer who has to mend a fault",
    "a system administrator of a small company",
    "a data scientist who compares methods",
    "a university student before an examination",
    "a historian who checks a date",
    "a journalist who checks a claim",
    "a lawyer who prepares a case",
    "a civil servant who drafts a rule",
    "an economist who follows prices and trade",
    "an owner of a small shop",
    "a farmer who plans the next season",
    "a mechanic who repairs machines",
    "an architect who plans a house",
    "a chemist in a laboratory",
    "a biologist who does field work",
    "a mathematics teacher",
    "a translator who looks for the right term",
    "a traveller who plans a journey",
    "a cook who tries something new",
    "a musician and collector of records",
    "a follower of sports",
    "a lover of novels and films",
    "a person who is new in a country and its language",
    "a pensioner who learns to use a computer",
)

_NAMED = """
am:Amharic ar:Arabic az:Azerbaijani be:Belarusian bg:Bulgarian bn:Bengali bo:Tibetan bs:Bosnian ca:Catalan
cs:Czech cy:Welsh da:Danish de:German el:Greek en:English eo:Esperanto es:Spanish et:Estonian eu:Basque
fa:Persian fi:Finnish fil:Filipino fr:French ga:Irish gl:Galician gu:Gujarati ha:Hausa he:Hebrew hi:Hindi
hr:Croatian hu:Hungarian hy:Armenian id:Indonesian ig:Igbo is:Icelandic it:Italian ja:Japanese jv:Javanese
ka:Georgian kk:Kazakh km:Khmer kn:Kannada ko:Korean ky:Kyrgyz lb:Luxembourgish lo:Lao lt:Lithuanian lv:Latvian
mg:Malagasy mk:Macedonian ml:Malayalam mn:Mongolian mr:Marathi ms:Malay my:Burmese nb:Norwegian ne:Nepali
nl:Dutch nn:Nynorsk or:Odia pa:Punjabi pl:Polish ps:Pashto pt:Portuguese ro:Romanian ru:Russian rw:Kinyarwanda
si:Sinhala sk:Slovak sl:Slovenian sn:Shona so:Somali sq:Albanian sr:Serbian sv:Swedish sw:Swahili ta:Tamil
te:Telugu tg:Tajik th:Thai ti:Tigrinya tk:Turkmen tr:Turkish tt:Tatar ug:Uyghur uk:Ukrainian ur:Urdu uz:Uzbek
vi:Vietnamese wo:Wolof xh:Xhosa yi:Yiddish yo:Yoruba zh:Chinese zu:Zulu
"""
_NAMES = dict(pair.split(":") for pair in _NAMED.split())
# English is what is translated; a script behind a hyphen has no name that all understand.
NAMED: tuple[str, ...] = tuple(code for code in _NAMES if code != "en")
"""Codes of the languages that have an English name here, but for English."""
_JSON = "Answer with one JSON object and nothing else."


def to_choose(
    title: str,
    passage: str,
    language: str,
    personas: Sequence[str],
    question_types: Mapping[str, QuestionType],
    difficulties: Mapping[str, str],
) -> Messages:
    """The first call: who would ask, in which way, how hard."""
    offered = "\n".join(f"{number}. {persona}" for number, persona in enumerate(personas, 1))
    example = f'{{"persona": 1, "question_type": "{next(iter(question_types))}", '
    example += f'"difficulty": "{next(iter(difficulties))}"}}'
    return _messages(
        f"You decide who would look for a passage, and by what kind of question. {_JSON}",
        f"{_passage(title, passage, language)}\n\n**Personas**\n{offered}\n\n"
        f"**Question types**\n{_listed({name: kind.meaning for name, kind in question_types.items()})}\n\n"
        f"**Difficulties**\n{_listed(difficulties)}\n\n"
        "First choose the number of the persona who is most likely to care for the passage, then the "
        "question type by which that persona would ask, then the difficulty. Answer in this form:\n"
        + example,
    )


def to_write(
    title: str,
    passage: str,
    language: str,
    *,
    persona: str,
    kind: str,
    difficulty: str,
    words: int,
    query_language: str,
) -> Messages:
    """The second call: the query itself. `kind` and `difficulty` are given with what they mean."""
    return _messages(
        f"You write the query of a person who looks for a passage and has not read it. {_JSON}",
        f"**Character**\n{persona}\n\n{_passage(title, passage, language)}\n\n**Requirements**\n"
        f"- Type: {kind}\n- Difficulty: {difficulty}\n- Length: about {words} words\n"
        f"- Language: {named(query_language)}\n\n"
        "Write one query of this character that the passage answers. Do not speak of the passage, and do not "
        f'copy its sentences. Keys in English, the value in {named(query_language)}:\n{{"query": "..."}}',
    )


def named(code: str) -> str:
    """A language as an English reader knows it; by its code where it has no name here."""
    language, _, script = code.partition("-")
    if code == "und":
        return "the language of the passage"
    name = _NAMES.get(language, f"the language with the ISO 639 code {language}")
    return f"{name} ({'traditional characters' if script == 'hant' else script} script)" if script else name


def _passage(title: str, passage: str, language: str) -> str:
    known = "" if language == "und" else f" (in {named(language)})"
    return f"**Passage**{known}\n" + (f"{title}\n\n{passage}" if title else passage)


def _listed(meanings: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {meaning}" for name, meaning in meanings.items())


def _messages(system: str, user: str) -> Messages:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]
