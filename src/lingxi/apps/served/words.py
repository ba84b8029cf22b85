"""What the applications' pages say beside the phrases of all pages, in English and 中文."""

from __future__ import annotations

from collections.abc import Mapping

from lingxi.serve.pages.words import Pair

WORDS: Mapping[str, Pair] = {
    # the list of pages
    "page_ask": ("Ask", "问答"),
    "page_code": ("Code", "代码"),
    "page_align": ("Align", "对齐"),
    # answers
    "question": ("Question", "问题"),
    "question_hint": ("A question, in any language", "任何语言的问题"),
    "ask_go": ("Ask", "提问"),
    "ask_lead": (
        "Ask what the documents say. Each statement has the number of a passage that supports it; "
        "where they do not say it, you are told so.",
        "提问文档中的内容。每句话都标有支持它的段落编号；文档中没有答案时会如实说明。",
    ),
    "rerank_least": ("Rerank, no more than needed", "按需重排"),
    "you": ("You", "你"),
    "answer": ("Answer", "回答"),
    "not_here": ("Not in these documents.", "这些文档中没有答案。"),
    "not_here_why": (
        "That the passages found answer this is {sure} % likely; answers begin at {threshold} %.",
        "找到的段落能回答此问题的可能性为 {sure}%；达到 {threshold}% 才作答。",
    ),
    "by_extract": ("The sentences are those of the documents.", "以上为文档原句。"),
    "by_llm": (
        "Written by a language model; each statement was verified.",
        "由语言模型撰写，每句话均已核对。",
    ),
    "sure_of": ("{sure} % sure", "把握 {sure}%"),
    "read_of": (
        "{judged} of {pairs} passages reranked: {saved} % of the work saved",
        "重排了 {pairs} 段中的 {judged} 段：节省 {saved}% 的计算",
    ),
    "searched_for": ("Searched for: {asked}", "实际检索：{asked}"),
    "withheld": (
        "{count} statements of the model were withheld: no passage supports them.",
        "模型有 {count} 句话缺少段落支持，未予显示。",
    ),
    "removed": (
        "{count} citations of the model were wrong, and removed.",
        "模型有 {count} 处引用有误，已删除。",
    ),
    "flagged": (
        "Left out, since it reads as an order to a model: {places}",
        "以下位置的文字像是对模型下的指令，未予采用：{places}",
    ),
    "model_failed": (
        "The language model did not answer; these are the best sentences.",
        "语言模型没有应答；以下为最贴切的原句。",
    ),
    "cited": ("Cited passages", "引用段落"),
    "further": ("Ask further", "继续提问"),
    "further_hint": ("It may point back: “And how long?”", "可以承接上文：“那要多久？”"),
    "anew": ("Begin anew", "重新开始"),
    "many_turns": ("A conversation has at most {most} turns here.", "此处一次对话最多 {most} 轮。"),
    "bad_turn": ("A turn of the conversation cannot be read.", "对话中有一轮无法读取。"),
    # code
    "code_hint": (
        "Words, a name, code, or an error with its stack trace",
        "描述、名称、代码，或带堆栈的错误信息",
    ),
    "code_lead": (
        "Find functions and types: say what they do in any language, name them, or paste code or an error. "
        "Enter searches, Shift+Enter begins a line.",
        "查找函数与类型：可用任何语言描述，也可输入名称，或粘贴代码、错误信息。回车搜索，Shift+回车换行。",
    ),
    "language_of": ("Language", "编程语言"),
    "language_any": ("any", "不限"),
    "code_path_hint": ("src/ or *.py", "src/ 或 *.py"),
    "hits": ("Hits", "条数"),
    "found_code": ("{count} places in {ms} ms", "{count} 处，用时 {ms} 毫秒"),
    "read_as": ("read as {kind}", "按{kind}处理"),
    "kind_words": ("words", "描述"),
    "kind_name": ("a name", "名称"),
    "kind_code": ("code", "代码"),
    "kind_error": ("an error message", "错误信息"),
    "whole_unit": ("All of it", "完整代码"),
    "nothing_code": ("Nothing was found.", "没有找到。"),
    # tables
    "align_lead": (
        "Two tables of things, in any two languages: which rows are the same thing? A table is TSV with a "
        "header (id, name, description, aliases) or an object of JSON a line; relations help.",
        "两张表、任意两种语言：哪些行指的是同一事物？表格为带表头的 TSV（id、name、description、aliases）"
        "或每行一个 JSON 对象；若给出关系会更准。",
    ),
    "left": ("Left table", "左表"),
    "right": ("Right table", "右表"),
    "seeds": (
        "Known pairs: two ids a line, a tab between (optional)",
        "已知配对：每行两个 id，以制表符分隔（可选）",
    ),
    "left_file": ("or a file for the left table", "或上传左表文件"),
    "right_file": ("or a file for the right table", "或上传右表文件"),
    "table_limits": (
        "At most {bytes} bytes and {entities} rows a table.",
        "每张表最多 {bytes} 字节、{entities} 行。",
    ),
    "least": ("Least confidence, %", "最低置信度 %"),
    "rerank_close": ("Rerank close calls", "对难分的配对重排"),
    "align_go": ("Align", "对齐"),
    "need_tables": ("Give both tables.", "请给出两张表。"),
    "found_pairs": ("{count} pairs from {left} and {right} rows", "{left} 行与 {right} 行中有 {count} 对"),
    "more_pairs": (
        "The first {most} are shown; a download has all.",
        "此处显示前 {most} 对；下载的文件包含全部。",
    ),
    "no_pairs": ("No pair is as sure as that.", "没有达到该置信度的配对。"),
    "confidence": ("Confidence", "置信度"),
    "why_same": ("Why", "依据"),
    "names_alike": ("names {percent} % alike", "名称相似度 {percent}%"),
    "known": ("given as known", "已知配对"),
    "each_best": ("each other’s best", "互为最佳"),
    "judged_at": ("reranker {percent} %", "重排 {percent}%"),
    "download_same": ("Download as owl:sameAs", "下载 owl:sameAs"),
    "download_tsv": ("Download as TSV", "下载 TSV"),
    "scale": ("Confidences: {source}", "置信度来源：{source}"),
}  # fmt: skip
