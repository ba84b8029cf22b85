"""Arguments and options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

Query = Annotated[str, typer.Argument(metavar="QUERY", help="Words or a question, in any language.")]
Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and folders.")]
Place = Annotated[str, typer.Argument(metavar="INDEX", help="Folder of the index.")]
Model = Annotated[str | None, typer.Option(help="Embedder: a directory, hub id or shipped name.")]
Reranks = Annotated[
    str | None,
    typer.Option("--reranker", help="A reranker orders the first hits: the same; none by default."),
]
TopK = Annotated[int, typer.Option("--top-k", "-k", help="Number of passages.")]
Instruction = Annotated[str | None, typer.Option(help="The task, in English, if not plain search.")]
Lines = Annotated[int, typer.Option(help="Most lines shown of a passage; 0 shows all.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Only files of this kind: text, markdown, code, html, pdf, rst."),
]
Languages = Annotated[
    list[str] | None, typer.Option("--language", help="Only code in this language: python, go, …")
]
Namespace = Annotated[str, typer.Option(help="A part of the index with files of its own.")]
Whole = Annotated[bool, typer.Option("--documents", help="Rank whole files by their passages.")]
Around = Annotated[int, typer.Option(help="Raise a passage by those so many places away (conversations).")]
Pages = Annotated[
    bool, typer.Option("--pages", help="Pages of PDFs as pictures too, by a model that reads pictures.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

SHOWN_LINES = 8
"""Lines shown of a passage, unless told."""
