"""Pairs in, model directories out.

In: curated pairs (Parquet, `records.Pair`). Out: a tokenizer, an embedder and a reranker, each a
model directory with its golden file. Stages: tokenizer → lexicon (token vectors alone) →
contrastive training of the whole network → yes/no training of the reranker.
"""
