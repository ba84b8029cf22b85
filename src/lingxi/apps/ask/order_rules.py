"""The patterns of `orders`, by name: alternatives over text in lower case and plain form (`plain.folded`)."""

from __future__ import annotations

import re
import unicodedata

_NEAR = r"[^.!?。！？\n]{0,60}"
_IGNORE = "|".join(
    (
        r"ignor\w*|disregard\w*|forget|overrid\w*|bypass\w*|vergiss|missachte\w*|oublie\w*|olvid\w*",
        r"desestim\w*|esque[çc]\w*|dimentica\w*|negeer|zignoruj|pomi[nń]\w*|игнорир\w*|забудь\w*",
        r"проигнорир\w*|abaikan|lupakan|bỏ qua|yok say\w*|unut|görmezden|puuza|sahau|تجاهل\w*",
        "अनदेखा|नज़रअंदाज़|भूल",
    )
)
_RULES = "|".join(
    (
        r"instruction\w*|prompt\w*|rule\w*|guideline\w*|everything (above|before)|anweisung\w*|regeln",
        r"(previous|prior|above|earlier) (text|context|message\w*|order\w*)|(passages?|text) above",
        r"vorherige\w*",
        r"consigne\w*|instrucci\w*|reglas|instru[çc]\w*|regras|istruzion\w*|instructie\w*|polece\w*",
        r"instrukcj\w*|указани\w*|инструкц\w*|правил\w*|instruksi|perintah|hướng dẫn|chỉ dẫn|talimat\w*",
        r"maagizo|تعليمات|التعليمات|निर्देश\w*",
    )
)
_SAY = "|".join(
    (
        "reply|respond|answer|say|output|print|write|repeat|return|begin|start|include|append|add|state|tell",
        r"antworte\w*|schreib\w*|sag|gib|réponds|répondez|écri\w*|dis|responde|respond\w*|escribe|escreva",
        r"diga|di|rispondi|scrivi|antwoord|odpowiedz|napisz|ответь\w*|напиши\w*|скажи\w*|выведи\w*|jawab\w*",
        r"tulis\w*|katakan|trả lời|viết|hãy nói|yanıtla|yaz|cevap ver|jibu|andika|sema|أجب|اكتب|قل",
        r"उत्तर|लिख\w*|कह\w*",
    )
)
_HOW = "|".join(
    (
        "only|exactly|instead|verbatim|the (following|word|words|phrase|text|string|sentence)|with:",
        r"nur|genau|ausschließlich|folgende\w*|seulement|uniquement|exactement|únicamente|solo|sólo|apenas",
        "somente|soltanto|esattamente|alleen|tylko|только|именно|hanya|chỉ|sadece|yalnızca|tu|pekee",
        "فقط|केवल|सिर्फ",
    )
)
# Ordinary prose has these words too, so each needs a verb of command beside it.
_MODEL = r"ai|a\.i\.|llm|language model|assistant|chat ?bot|model|bot|summari[sz]er|agent"
_REPLY = "answer|reply|response|output|summary|answers|replies|responses|summaries"
_SPOKEN = "answer|reply|respond|say|output|print|include|recommend|tell|cite|reveal|write|mention|state"
_LINKED = "link|url|image|picture|pixel|markdown"

_PATTERNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "cancels rules",
        (
            rf"\b({_IGNORE}){_NEAR}({_RULES})",
            rf"({_RULES}){_NEAR}\b({_IGNORE})",
            r"\b(your|the) (task|job|role|instructions?) (has|have) changed\b",
            "(忽略|无视|無視|忘记|忘掉|忘れ|不要理会|不理会|取消|무시|잊어|ละเว้น|เพิกเฉย).{0,30}"
            "(指令|指示|提示|规则|規則|命令|上文|以上|之前|前面|プロンプト|ルール|지시|명령|프롬프트|규칙|คำสั่ง|คำแนะนำ)",
            "(指令|指示|提示词|规则|命令|以上|之前的|プロンプト|지시|명령|คำสั่ง).{0,20}(忽略|无视|無視|作废|忘れ|무시|잊어)",
        ),
    ),
    (
        "dictates the answer",
        (
            rf"\b({_SAY})\b{_NEAR}(?<!\w)({_HOW}){_NEAR}[:\"'“«「]",
            rf"^\W*({_SAY})\b[^.!?]{{0,15}}(?<!\w)({_HOW})\b",
            r"\b(answer|reply|respond)\w*( to)? (every|all|any|each)\b|\bdo not answer the question\b",
            rf"\b(your|the|each|every|all|any|a) (\w+ )?({_REPLY})\b{_NEAR}"
            r"\b(must|should|shall|has to|have to|is to|needs to|is always|mentions?|includes?|contains?|"
            r"closed?s?|ends?|starts?|begins?|says?|states?)\b",
            r"\b(your|the|correct|right) (answer|reply|response)\b (is|are) (always|to)\b",
            r"\byou (must|should|shall|have to|need to|will now|are to|are required to)\b"
            rf"{_NEAR}\b({_SPOKEN})\b",
            rf"\b(when|if|before|whenever|after)\b{_NEAR}\b(asked|answering|summari[sz]ing|responding|replying)\b"
            rf"{_NEAR}\b({_SPOKEN}|add|always|first)\b",
            r"\b(tell|inform|let) (the |every )?(users?|readers?|visitors?|people|them)\b"
            r"|\b(users?|readers?|visitors?|people) (should|must|have to|are to) be told\b",
            r"^\W*repeat (this|these|the)\b|\brepeat these lines\b",
            "(只|仅|必须|务必|请直接|一律|だけ|のみ|必ず|대신|오직|반드시).{0,12}"
            "(回答|回复|输出|打印|写成|写道|写出|出力|答え|返信|返答|대답|답변|출력|답하)",
            '(请|請|务必|務必|必须|要)(在)?(回答|回复|答案|输出|说|写)(里|中|时)?.{0,8}(加上|包含|写上|附上|[::“「『"])',
            "(无论|不管).{0,12}(问|问题).{0,8}(都|一律)|(とだけ|라고만|라고 답)",
            "(对|對)(任何|所有)(问题|問題).{0,6}(都|一律)",
        ),
    ),
    (
        "speaks to the model",
        (
            r"\b(you are|you're|act as|pretend|behave as|roleplay)\b"
            rf"{_NEAR}\b(now|{_MODEL}|dan|unrestricted)\b",
            r"\b(attention|note|hey|dear|hello|message|notice)\b[ ,:]{1,3}(to |for )?(the |all |any )?"
            rf"({_MODEL})\b",
            rf"\b({_MODEL})s?\b{_NEAR}\b(must|shall|please|kindly|reading this|processing this)\b",
            r"\b(system prompt|developer mode|debug mode|god mode|jailbreak\w*|admin override)\b",
            r"\b(new|hidden|secret|updated?) instruction\w*",
            "你现在是|你現在是|假装你|(请|你)(来)?扮演|系统提示|系統提示|新的?指令|开发者模式",
            "致.{0,4}(助手|模型)",
            "あなたは今|システムプロンプト|新しい指示|너는 이제|당신은 이제|시스템 프롬프트|새로운 지시",
            r"\b(du bist jetzt|tu es maintenant|vous êtes maintenant|ahora eres|eres ahora|você agora é)\b",
            r"\b(ora sei|agora você é|ты теперь|теперь ты|nowe instrukcje|neue anweisung\w*)\b",
            r"\b(nouvelle\w* instruction\w*|nuevas? instruccion\w*|novas? instru\w*|новые инструкции)\b",
            r"\b(kamu sekarang|artık sen)\b|أنت الآن|अब आप",
        ),
    ),
    (
        "plays a turn",
        (
            r"^\W{0,4}(system|assistant|user|human|developer|ai|系统|助手|用户|システム|시스템|система)"
            r"( ?(message|note|override|prompt|消息))?\W{0,4}[::]",
            r"#{2,} ?(system|instruction|response|assistant|human|user)\b",
            r"^\W*(begin|end|start) (of )?(system|admin) ",
            r"[\"']role[\"']\s*:\s*[\"'](system|user|assistant|developer|tool)",
        ),
    ),
    (
        "breaks the fence",
        (
            r"\b(end|close|begin|start)(ing)?( of)?( the| all)? "
            r"(passage|document|context|source|data|untrusted|quote|fence|search result)s?\b(?! of)",
            r"</?(passage|document|context|source|data|instructions?|answer|question)s?\b[^>]*>",
            "(文档|资料|段落|上下文)(结束|到此为止)",
        ),
    ),
    (
        "sends data out",
        (
            r"!\[[^\]]*\]\(",
            r"\b(visit|open|click|fetch|go to|navigate to|load|send|post|forward|submit|transmit|email|"
            r"upload|follow|call|curl|wget)\b[^.!?]{0,60}(https?://|www\.|@[a-z0-9-]+\.[a-z])",
            r"(访问|打开|点击|发送|提交|转发|加上).{0,20}(https?://|www\.)",
            rf"\b(include|insert|append|render|display|embed|add|show)\b[^.!?]{{0,40}}\b({_LINKED})\b[^.!?]{{0,40}}"
            rf"(https?://|!\[|\b({_REPLY})\b)",
            r"https?://\S*[?&=]\S*(\{|<|\[|%7b)|\bsend the conversation\b",
        ),
    ),
    (
        "asks for secrets",
        (
            r"\b(reveal|leak|disclose|print|repeat|output|show|tell)\b[^.!?]{0,40}\b(system prompt|api key|"
            r"your (prompt|instructions?|rules)|password|credentials?|conversation|chat history)\b",
        ),
    ),
    (
        "is encoded",
        (
            r"(?<![\w/+])[a-z0-9+/]{48,}={0,2}(?![\w/+])|(?<![\w/+])[a-z0-9+/]{20,}={1,2}(?![\w/+])",
            r"\b(decode|reverse|decrypt) (this|the following)\b",
            r"\b(decode|rot13|base64)\b.{0,30}\b(do|obey|follow|say)\b",
        ),
    ),
    (
        "fakes a citation",
        (
            r"\b(cite|citing|reference|attribute|quote)\b[^.!?]{0,40}"
            r"(\[\d|passage \d|\(\d|source \d|this (passage|document|text) (as|for))",
            r"(引用|注明)(资料|来源)?\[\d",
        ),
    ),
)

# Plain form (`plain.folded`) writes some letters in two, so patterns are brought to it as well.
RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(unicodedata.normalize("NFKC", "|".join(patterns)))) for name, patterns in _PATTERNS
)
