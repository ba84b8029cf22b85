"""A small detector of lines that speak to the model rather than about the world: rules with names.

It reads lines in their plain form (`plain.folded`). It is the first fence and not the last: what it does not
know still has to pass the verification of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lingxi.apps.ask.plain import folded, has_specials, has_unseen
from lingxi.parse import Span, sentences

_NEAR = r"[^.!?。！？\n]{0,60}"
_IGNORE = (
    r"\b(ignor\w*|disregard\w*|forget|overrid\w*|bypass\w*|vergiss|missachte\w*|oublie\w*|olvid\w*|desestim\w*|"
    r"esque[çc]\w*|dimentica\w*|negeer|zignoruj|pomi[nń]\w*|игнорир\w*|забудь\w*|проигнорир\w*|abaikan|lupakan|"
    r"bỏ qua|yok say\w*|unut|görmezden|puuza|sahau|تجاهل\w*|انس|अनदेखा|नज़रअंदाज़|भूल)"
)
_RULES_WORD = (
    r"(instruction\w*|prompt\w*|rule\w*|guideline\w*|(previous|prior|above|earlier) (text|context|message\w*|order\w*)|"
    r"everything (above|before)|anweisung\w*|regeln|vorherige\w*|consigne\w*|instrucci\w*|reglas|instru[çc]\w*|"
    r"regras|istruzion\w*|instructie\w*|polece\w*|instrukcj\w*|указани\w*|инструкц\w*|правил\w*|instruksi|perintah|"
    r"hướng dẫn|chỉ dẫn|talimat\w*|maagizo|تعليمات|التعليمات|निर्देश\w*)"
)
_SAY = (
    r"\b(reply|respond|answer|say|output|print|write|repeat|return|begin|start|include|append|add|state|tell|"
    r"antworte\w*|schreib\w*|sag|gib|réponds|répondez|écri\w*|dis|responde|respond\w*|escribe|escreva|diga|di|rispondi|scrivi|"
    r"antwoord|odpowiedz|napisz|ответь\w*|напиши\w*|скажи\w*|выведи\w*|jawab\w*|tulis\w*|katakan|trả lời|viết|hãy nói|"
    r"yanıtla|yaz|cevap ver|jibu|andika|sema|أجب|اكتب|قل|उत्तर|लिख\w*|कह\w*)"
)
_SAY_HOW = (
    r"(only|exactly|instead|verbatim|the (following|word|words|phrase|text|string|sentence)|with:|"
    r"nur|genau|ausschließlich|folgende\w*|seulement|uniquement|exactement|únicamente|solo|sólo|apenas|somente|soltanto|esattamente|"
    r"alleen|tylko|только|именно|hanya|chỉ|sadece|yalnızca|tu|pekee|فقط|केवल|सिर्फ)"
)
# Names of what an order is meant for; ordinary prose has them too, so each needs a verb of command beside it.
_MODEL = r"(ai|a\.i\.|llm|language model|assistant|chatbot|chat ?bot|model|bot|summari[sz]er|agent)"

_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("cancels rules", rf"{_IGNORE}{_NEAR}{_RULES_WORD}|{_RULES_WORD}{_NEAR}{_IGNORE}"),
        (
            "cancels rules",
            "(忽略|无视|無視|忘记|忘掉|忘れ|不要理会|不理会|取消|무시|잊어|ละเว้น|เพิกเฉย).{0,30}"
            "(指令|指示|提示|规则|規則|命令|要求|上文|以上|之前|前面|プロンプト|ルール|지시|명령|프롬프트|규칙|คำสั่ง|คำแนะนำ)"
            "|(指令|指示|提示词|规则|命令|以上|之前的|プロンプト|지시|명령|คำสั่ง).{0,20}(忽略|无视|無視|作废|忘れ|무시|잊어)",
        ),
        ("dictates the answer", rf"{_SAY}\b{_NEAR}(?<!\w){_SAY_HOW}{_NEAR}[:\"'“«「]|^\W*{_SAY}\b[^.!?]{{0,15}}(?<!\w){_SAY_HOW}\b"),
        (
            "dictates the answer",
            "(只|仅|必须|务必|请直接|直接|而是|一律|だけ|のみ|必ず|대신|오직|반드시).{0,12}"
            "(回答|回复|输出|打印|写道|説明|出力|答え|返信|返答|대답|답변|출력|답하)"
            "|(请|務必)?(回答|回复|输出|说|出力|답|答え).{0,8}[:：“「『\"]|(とだけ|라고만|라고 답)",
        ),
        (
            "dictates the answer",
            rf"\b(your|the) (answer|reply|response|output|summary)\b{_NEAR}\b(must|should|shall|has to|is to|needs to)\b"
            rf"|\byou (must|should|shall|have to|need to|will now|are to|are required to)\b{_NEAR}\b(answer|reply|respond|say|"
            r"output|print|include|recommend|tell|cite|reveal|write)\b"
            rf"|\b(when|if|before|whenever|after)\b{_NEAR}\b(asked|answering|summari[sz]ing|responding|replying|you answer)\b{_NEAR}\b"
            r"(say|reply|answer|respond|include|add|mention|tell|recommend|output|state|always|first)\b",
        ),
        (
            "speaks to the model",
            rf"\b(you are|you're|act as|pretend|behave as|roleplay)\b{_NEAR}\b(now|{_MODEL}|dan|unrestricted|jailbroken)\b"
            rf"|\b(attention|note|hey|dear|hello|message|instruction\w*|notice)\b[ ,:]{{1,3}}(to |for )?(the |all |any )?{_MODEL}\b"
            rf"|\b{_MODEL}s?\b{_NEAR}\b(must|should|shall|please|reading this|processing this)\b"
            r"|\b(system prompt|developer mode|debug mode|god mode|jailbreak|new instruction\w*|admin override|"
            r"hidden instruction\w*|secret instruction\w*|updated? instruction\w*)\b",
        ),
        (
            "speaks to the model",
            "(你现在是|你現在是|假装你|扮演|系统提示|系統提示|新的?指令|开发者模式|致.{0,4}(助手|模型)|(ai|人工智能|语言模型)(助手|模型)?[，,：:]|"
            "あなたは今|システムプロンプト|新しい指示|너는 이제|당신은 이제|시스템 프롬프트|새로운 지시)"
            "|\\b(du bist jetzt|tu es maintenant|vous êtes maintenant|ahora eres|eres ahora|você agora é|agora você é|ora sei|"
            "ты теперь|теперь ты|nowe instrukcje|neue anweisung\\w*|nouvelle\\w* instruction\\w*|nuevas? instruccion\\w*|"
            "novas? instru\\w*|новые инструкции|kamu sekarang|artık sen|أنت الآن|अब आप)",
        ),
        (
            "plays a turn",
            r"^\W{0,4}(system|assistant|user|human|developer|ai|tool|系统|助手|用户|システム|시스템|система)( ?(message|note|override|prompt|消息))?"
            r"\W{0,4}[:：]|#{2,} ?(system|instruction|response|assistant|human|user)\b|^\W*(begin|end|start) (of )?(system|new|admin) ",
        ),
        (
            "breaks the fence",
            r"\b(end|close|closing|begin|start)\b(ing)?( of)?( the| all)? (passage|document|context|source|data|untrusted|quote|fence|search result)s?\b"
            r"|</?(passage|document|context|source|data|instructions?|answer|question)s?\b[^>]*>|(文档|资料|段落|上下文)(结束|到此为止)",
        ),
        (
            "sends data out",
            r"!\[[^\]]*\]\(|\b(visit|open|click|fetch|go to|navigate to|load|send|post|forward|submit|transmit|email|upload|"
            r"follow|call|curl|wget)\b[^.!?]{0,60}(https?://|www\.|@[a-z0-9-]+\.[a-z])"
            r"|(访问|打开|点击|发送|提交|转发).{0,20}(https?://|www\.)|\b(link|url|image|pixel)\b[^.!?]{0,40}\b(include|insert|append|render|display|embed|add)\b"
            r"|\b(include|insert|append|render|display|embed|add|show)\b[^.!?]{0,40}\b(link|url|image|pixel|markdown)\b"
            r"|https?://\S*[?&=][^\s]*(\{|<|\[|%7b)",
        ),
        (
            "asks for secrets",
            r"\b(reveal|leak|disclose|print|repeat|output|show|tell)\b[^.!?]{0,40}\b(system prompt|your (prompt|instructions?|rules)|api key|"
            r"password|secret|credentials?|conversation|history)\b",
        ),
        ("is encoded", r"(?<![\w/+])[a-z0-9+/]{48,}={0,2}(?![\w/+])|\b(base64|rot13|decode (this|the following)|reverse (this|the following))\b"),
        (
            "fakes a citation",
            r"\b(cite|citing|reference|attribute|quote)\b[^.!?]{0,30}(\[\d|passage \d|as \(\d|source \d|this (passage|document|text) (as|for))",
        ),
    )
)  # fmt: skip


def order(line: str) -> str | None:
    """The name of the first rule by which a line reads as an order to a model; None for plain prose."""
    if has_specials(line):
        return "plays a turn"
    if has_unseen(line):
        return "hides characters"
    plain = folded(line)
    return next((name for name, pattern in _RULES if pattern.search(plain)), None)


def orders(text: str) -> Iterator[tuple[Span, str]]:
    """Spans of the sentences of a text that read as orders, with their rules.

    What follows an order that ends with a colon is what it orders, and goes with it.
    """
    follows = False
    for line in sentences(text):
        said = text[line.start : line.end]
        for start, end in _halves(said):
            rule = order(said[start:end])
            if rule or follows:
                yield Span(line.start + start, line.start + end), rule or "follows an order"
            follows = bool(rule) and said[start:end].rstrip().endswith((":", "："))


def _halves(said: str) -> Iterator[tuple[int, int]]:
    """The lines inside one sentence: a prompt's turn may come without a full stop before it."""
    start = 0
    for piece in said.split("\n"):
        if piece.strip():
            yield start, start + len(piece)
        start += len(piece) + 1
