"""What the pages say, in English and 中文: every phrase once, both languages beside each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

from lingxi.errors import InputError

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

Pair = tuple[str, str]
WORDS: Mapping[str, Pair] = {
    # every page
    "skip": ("Skip to the content", "跳到正文"),
    "pages": ("Pages", "页面"),
    "search": ("Search", "搜索"),
    "compare": ("Compare", "对比"),
    "status": ("Status", "状态"),
    "language": ("Language", "语言"),
    # search
    "query": ("Query", "查询"),
    "query_hint": ("Words or a question, in any language", "词语或问题，任何语言都可以"),
    "instruction": ("Instruction", "任务指令"),
    "instruction_hint": (
        "The task, if not plain search: “Given a bug report, find the function”",
        "若非普通搜索，请说明任务（用英文更好）：“Given a bug report, find the function”",
    ),
    "path": ("Only below", "限定路径"),
    "path_hint": ("Folder or file, as the server sees it", "服务器上的文件夹或文件"),
    "kind": ("Kind", "类型"),
    "kind_any": ("any", "不限"),
    "number": ("Passages", "条数"),
    "rerank": ("Rerank", "重排"),
    "go": ("Search", "搜索"),
    "filters": ("Options", "选项"),
    "found": ("{count} passages in {ms} ms", "{count} 条结果，用时 {ms} 毫秒"),
    "found_one": ("1 passage in {ms} ms", "1 条结果，用时 {ms} 毫秒"),
    "order_rerank": ("ordered by the reranker", "按重排得分排序"),
    "order_fused": ("ordered by meaning and words together", "按语义与词语融合排序"),
    "nothing": ("No passage was found.", "没有找到结果。"),
    "nothing_hint": (
        "Try other words, or a wider path; a path that is not in the index finds nothing.",
        "请换一种说法，或放宽路径；不在索引中的路径不会有结果。",
    ),
    "no_model": ("No reranker is loaded.", "没有加载重排模型。"),
    "ask": (
        "Type a question or a few words. Passages are found by meaning and by words; "
        "the sentence that answers best is marked.",
        "输入问题或几个词。系统按语义和词语一起查找段落，并标出最贴切的句子。",
    ),
    "found_beside": (
        "Passages: {count}; pictures, pages and sounds: {beside}; {ms} ms",
        "段落 {count} 条；图片、页面与录音 {beside} 个；用时 {ms} 毫秒",
    ),
    "order_near": ("ordered by likeness to the example", "按与示例的相似度排序"),
    "kind_image": ("Pictures", "图片"),
    "kind_page": ("Pages", "页面"),
    "kind_audio": ("Sound", "录音"),
    "example": ("A picture or recording", "图片或录音"),
    "example_hint": (
        "Search by a picture or recording, at most {most} MB; a recording by its first 30 seconds.",
        "用图片或录音搜索，不超过 {most} MB；录音取前 30 秒。",
    ),
    "example_go": ("Search by it", "以此搜索"),
    "example_of": ("Like {name}", "与 {name} 相似"),
    "alike": ("more like this", "查找相似"),
    "cosine": ("Cosine with the query; compare it within a row", "与查询的余弦；只在同一行内比较"),
    "large_example": ("The picture or recording is larger than {most} MB.", "图片或录音超过 {most} MB。"),
    "no_example": ("No picture or recording was sent.", "没有收到图片或录音。"),
    "one_query": ("Give words or an example, one of them.", "请给出词语或示例，二者择一。"),
    "why": ("Why here", "排序依据"),
    "by_vector": ("meaning", "语义"),
    "by_text": ("words", "词语"),
    "by_rerank": ("rerank", "重排"),
    "by_vector_long": ("Cosine of the vectors of query and passage", "查询与段落向量的余弦"),
    "by_text_long": ("BM25: words they share, rare ones count more", "BM25：共有的词，越少见分量越重"),
    "by_rerank_long": ("The reranker’s probability that the passage answers", "重排模型判断该段落相关的概率"),
    "rank_of": ("rank {rank}", "第 {rank} 名"),
    "not_ranked": ("not in the first 100", "不在前 100 名"),
    "whole": ("Whole passage", "完整段落"),
    "cut": ("The passage is longer than is shown here.", "段落过长，此处只显示一部分。"),
    "keys": ("Keys", "快捷键"),
    "key_focus": ("query", "查询框"),
    "key_move": ("next, previous", "下一条、上一条"),
    "key_open": ("open", "展开"),
    "key_copy": ("copy place", "复制位置"),
    "copied": ("Copied: {place}", "已复制：{place}"),
    # compare
    "compare_ask": (
        "One query, one list of texts, two orders: see where models, widths or precisions differ.",
        "一个查询、一组文本、两种排序：看两个模型、两种维度或两种精度有何不同。",
    ),
    "texts": ("Texts, one a line (2 to {most})", "文本，每行一条（2 至 {most} 条）"),
    "source": ("What to order", "排序对象"),
    "source_texts": ("these texts", "以下文本"),
    "source_index": ("the first passages of the index", "索引中最先找到的段落"),
    "side": ("Side {name}", "{name} 侧"),
    "model": ("Model", "模型"),
    "width": ("Width", "维度"),
    "width_full": ("full", "完整"),
    "precision": ("Precision", "精度"),
    "compare_go": ("Compare", "开始对比"),
    "overlap_of": ("{same} of {k}", "{same}／{k}"),
    "at": ("shared by the first {k}", "前 {k} 名共有"),
    "tau": ("Agreement of the orders (Kendall’s τ)", "排序一致性（Kendall τ）"),
    "tau_short": ("agreement τ", "一致性 τ"),
    "moved": ("texts moved", "条移动"),
    "same_order": ("Both sides give the same order.", "两侧排序完全相同。"),
    "up": ("{n} higher than in {side}", "比 {side} 侧高 {n} 位"),
    "down": ("{n} lower than in {side}", "比 {side} 侧低 {n} 位"),
    "even": ("the same rank in {side}", "与 {side} 侧同名次"),
    "only_here": ("among the first {k} on this side alone", "仅此侧进入前 {k}"),
    "legend": (
        "A red rank is among the first {k} on that side alone; ▲▼ how far it stands from the other side.",
        "红色名次：仅该侧进入前 {k}；▲▼ 与另一侧相差的位数。",
    ),
    "bytes": ("{n} bytes a vector", "每个向量 {n} 字节"),
    "score_cosine": ("cosine", "余弦"),
    "score_probability": ("probability", "概率"),
    # status
    "ready": ("Ready", "就绪"),
    "unready": ("Not ready", "未就绪"),
    "draining": ("Draining: finishing what is at work", "正在收尾：完成手头请求，不再接收新请求"),
    "gone": ("No answer from the server since {time}", "自 {time} 起服务器没有应答"),
    "uptime": ("Up for", "已运行"),
    "waiting": ("Waiting", "排队"),
    "waiting_texts": ("texts waiting", "条文本排队"),
    "waiting_tokens": ("tokens waiting", "个词元排队"),
    "done_texts": ("texts done", "条文本完成"),
    "done_tokens": ("tokens done", "个词元完成"),
    "failures": ("failures", "次失败"),
    "throughput": ("Tokens a second", "每秒词元"),
    "throughput_hint": ("all models, since the last look", "所有模型，自上次刷新起"),
    "rate": ("Tokens a second at work", "工作时每秒词元"),
    "models": ("Models", "模型"),
    "embedder": ("embedder", "向量模型"),
    "reranker": ("reranker", "重排模型"),
    "dims": ("Widths", "可用维度"),
    "max_length": ("Longest text", "最大长度"),
    "tokens": ("tokens", "词元"),
    "weights": ("Weights", "权重"),
    "prompts": ("Prompts", "提示"),
    "opened": ("Loaded", "加载于"),
    "adapter_of": ("Adapter of", "适配器，基于"),
    "fingerprint": ("Fingerprint", "指纹"),
    "limits": ("Limits", "限制"),
    "limit_max_items": ("Texts a request", "每次请求的文本数"),
    "limit_max_request_tokens": ("Tokens a request", "每次请求的词元数"),
    "limit_max_waiting_tokens": ("Tokens that may wait for a model", "每个模型可排队的词元数"),
    "limit_max_batch_tokens": ("Tokens a batch", "每批词元数"),
    "limit_max_body_bytes": ("Bytes of a request", "请求体字节数"),
    "limit_deadline_s": ("Seconds until an answer is given up", "放弃应答前的秒数"),
    "none": ("the engine’s choice", "由引擎决定"),
    "refresh_hint": ("Refreshes every {s} seconds.", "每 {s} 秒刷新。"),
    "refresh_without": ("Load the page again for newer figures.", "重新载入页面可查看最新数据。"),
    # what went wrong
    "bad_number": (
        "“{field}” has to be a whole number from {low} to {high}.",
        "“{field}”必须是 {low} 到 {high} 的整数。",
    ),
    "bad_choice": ("“{field}” has a value that is not offered.", "“{field}”的值不在可选范围内。"),
    "too_long": ("“{field}” is longer than {most} characters.", "“{field}”超过 {most} 个字符。"),
    "unknown_field": ("The address has a part that this page does not know.", "地址中有本页不认识的参数。"),
    "twice": ("“{field}” is given more than once.", "“{field}”出现了多次。"),
    "need_query": ("Give a query.", "请填写查询。"),
    "need_texts": ("Give 2 to {most} texts, one a line.", "请给出 2 至 {most} 条文本，每行一条。"),
    "only_embedders": (
        "Width and precision are of embedders; leave them as they are for a reranker.",
        "维度和精度只适用于向量模型；重排模型请保持默认。",
    ),
    "few_passages": (
        "The index has fewer than two passages for this query.",
        "索引中与该查询有关的段落不足两条。",
    ),
    "no_index": (
        "This server has no index to search. Start it with: lingxi serve --index FOLDER",
        "本服务器没有可搜索的索引。启动时请加上：lingxi serve --index 文件夹",
    ),
    "refused_invalid_input": ("The request cannot be used: {reason}", "请求无法处理：{reason}"),
    "refused_unauthorized": ("A key is needed.", "需要密钥。"),
    "refused_not_found": ("There is no such model or index here.", "这里没有该模型或索引。"),
    "refused_too_large": ("The request is too large.", "请求过大。"),
    "refused_overloaded": ("The server is busy; try again in a moment.", "服务器繁忙，请稍后再试。"),
    "refused_late": ("The answer took too long and was given up.", "处理超时，已放弃。"),
    "refused_unready": ("The server is starting or stopping.", "服务器正在启动或关闭，请稍后再试。"),
    "refused_backend": ("The model failed; the log of the server says more.", "模型出错，详情见服务器日志。"),
}  # fmt: skip


class Phrases:
    """The phrases of one language, and those that a page has of its own: `say("found", count=3, ms=5)`."""

    def __init__(self, language: Language, more: Mapping[str, Pair] | None = None) -> None:
        self.language = language
        self._words = {**WORDS, **(more or {})}
        self.tag = {"en": "en", "zh": "zh-Hans"}[language]
        self._at = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        """The phrase of a key with its values; raises KeyError for a key that is not there."""
        return self._words[key][self._at].format(**values)

    def of(self, pair: Pair) -> str:
        """That one of a pair which is in this language."""
        return pair[self._at]


_ACCEPTED = re.compile(r"\s*([A-Za-z*]+)(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?\s*$")


def choose_language(asked: str | None, accepted: str) -> Language:
    """The language asked for by `?lang=`, else the best of an Accept-Language header, else English.

    Raises InputError for a `lang` that is not offered.
    """
    if asked is not None:
        if asked not in LANGUAGES:
            raise InputError("this language is not offered", f"choose one of: {', '.join(LANGUAGES)}")
        return asked
    weights: dict[str, float] = {}
    for part in accepted[:1000].split(","):
        found = _ACCEPTED.match(part)
        if found:
            weights.setdefault(found[1].lower(), float(found[2] or 1))
    best = max(LANGUAGES, key=lambda language: weights.get(language, weights.get("*", 0.0)))
    return best
