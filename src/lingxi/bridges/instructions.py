"""The instruction of each MTEB task, from one table: the Qwen3 authors' wording (their `task_prompts.json`).

A task that is not named gets the instruction of its type.
"""

from __future__ import annotations

from collections.abc import Mapping

_QUESTION_CODE = "Given a question about code problem, retrieval code that can solve user's problem"
_COMMENT = "Given a code snippet, retrieve the comment corresponding to that code."
_SAME_CODE = "Given a piece for code, retrieval semantically similar code"
_CODING = "Given a question about coding, retrieval code or passage that can solve user's question"
_RELEVANT = "Retrieval the relevant passage for the given query"
_CLAIM = "Given a claim, retrieve documents that support or refute the claim"
_CLIMATE = "Given a claim about climate change, retrieve documents that support or refute the claim"
_HOP = "Given a multi-hop question, retrieve documents that can help answer the question"
_ARGUMENTS = "Given a question, retrieve detailed and persuasive arguments that answer the question"
_CMEDQA = "Given a Chinese community medical question, retrieve replies that best answer the question"
_ZH_WEB = "Given a Chinese search query, retrieve web passages that answer the question"
_WEB = "Given a web search query, retrieve relevant passages that answer the query"

BY_NAME: Mapping[str, str] = {
    "MSMARCO": _WEB,
    "MMarcoRetrieval": _WEB,
    "NQ": "Given a question, retrieve Wikipedia passages that answer the question",
    "HotpotQA": _HOP,
    "HotpotQAHardNegatives": _HOP,
    "FEVER": _CLAIM,
    "FEVERHardNegatives": _CLAIM,
    "SciFact": "Given a scientific claim, retrieve documents that support or refute the claim",
    "ClimateFEVER": _CLIMATE,
    "ClimateFEVERHardNegatives": _CLIMATE,
    "FiQA2018": "Given a financial question, retrieve user replies that best answer the question",
    "NFCorpus": "Given a question, retrieve relevant documents that best answer the question",
    "SCIDOCS": "Given a scientific paper title, retrieve paper abstracts that are cited by the given paper",
    "TRECCOVID": "Given a query on COVID-19, retrieve documents that answer the query",
    "Touche2020": _ARGUMENTS,
    "Touche2020Retrieval.v3": _ARGUMENTS,
    "ArguAna": "Given a claim, find documents that refute the claim",
    "QuoraRetrieval": (
        "Given a question, retrieve questions that are semantically equivalent to the given question"
    ),
    "T2Retrieval": _ZH_WEB,
    "DuRetrieval": _ZH_WEB,
    "T2Reranking": _ZH_WEB,
    "MMarcoReranking": _ZH_WEB,
    "CmedqaRetrieval": _CMEDQA,
    "CMedQAv1-reranking": _CMEDQA,
    "CMedQAv2-reranking": _CMEDQA,
    "EcomRetrieval": (
        "Given a user query from an e-commerce website, retrieve description sentences of relevant products"
    ),
    "MedicalRetrieval": "Given a medical question, retrieve user replies that best answer the question",
    "VideoRetrieval": "Given a video search query, retrieve the titles of relevant videos",
    "CovidRetrieval": "Given a question on COVID-19, retrieve news articles that answer the question",
    "BelebeleRetrieval": _RELEVANT,
    "MLQARetrieval": _RELEVANT,
    "WikipediaRetrievalMultilingual": _RELEVANT,
    "MIRACLRetrievalHardNegatives": "Retrieval relevant passage for the given query",
    "AILAStatutes": "Identifying the most relevant statutes for a given situation",
    "AppsRetrieval": _QUESTION_CODE,
    "CodeSearchNetRetrieval": (
        "Given a code comment, retrieve the code snippet corresponding to that comment."
    ),
    "COIRCodeSearchNetRetrieval": _COMMENT,
    "CodeSearchNetCCRetrieval": _SAME_CODE,
    "CodeFeedbackMT": _CODING,
    "CodeFeedbackST": _CODING,
    "CosQA": _CODING,
    "StackOverflowQA": _CODING,
    "CodeTransOceanContest": _SAME_CODE,
    "CodeTransOceanDL": _SAME_CODE,
    "SyntheticText2SQL": (
        "Given a user's question, retrieve SQL queries that are appropriate responses to the question"
    ),
    "Banking77Classification": "Given a online banking query, find the corresponding intents",
    "EmotionClassification": (
        "Classify the emotion expressed in the given Twitter message into one of the six emotions: anger, "
        "fear, joy, love, sadness, and surprise"
    ),
    "ToxicConversationsClassification": "Classify the given comments as either toxic or not toxic",
    "MassiveIntentClassification": "Given a user utterance as query, find the user intents",
    "AmazonCounterfactualClassification": (
        "Classify a given Amazon customer review text as either counterfactual or not-counterfactual"
    ),
    "ArxivClusteringP2P": (
        "Identify the main and secondary category of Arxiv papers based on the titles and abstracts"
    ),
    "ArxivClusteringS2S": "Identify the main and secondary category of Arxiv papers based on the titles",
    "BiorxivClusteringP2P": "Identify the main category of Biorxiv papers based on the titles and abstracts",
    "MedrxivClusteringP2P": "Identify the main category of Medrxiv papers based on the titles and abstracts",
    "StackExchangeClustering": "Identify the topic or theme of StackExchange posts based on the titles",
}

BY_TYPE: Mapping[str, str] = {
    "BitextMining": "Retrieve parallel sentences",
    "STS": "Retrieve semantically similar text",
    "PairClassification": "Retrieve semantically similar text",
    "Summarization": "Retrieve semantically similar text",
    "Retrieval": "Retrieval relevant passage for the given query.",
    "Reranking": _WEB,
    "InstructionRetrieval": _WEB,
    "InstructionReranking": _WEB,
    "Clustering": "Identify the topic or theme of the given texts",
    "Classification": "Classify the given text",
    "MultilabelClassification": "Classify the given text",
}

# Tasks whose documents stand where the queries do, so they carry the instruction too.
SYMMETRIC = frozenset({"ArguAna", "QuoraRetrieval"})


def instruction_of(name: str, kind: str) -> str:
    """The instruction of a task by its name, else by its type; anything else is web search."""
    if name.startswith("CQADupstack"):
        return (
            "Given a question, retrieve detailed question descriptions from Stackexchange that are "
            "duplicates to the given question"
        )
    return BY_NAME.get(name) or BY_TYPE.get(kind, _WEB)
