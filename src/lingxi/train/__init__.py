"""Pairs in, model directories out.

In: curated pairs (Parquet, `records.Pair`). Out: embedder and reranker, each a model directory with its
golden file; checkpoints to be merged; logs and curves.

the flow    stages, running, material, writing: the phases in order, one phase, its rows, what is written
settings    settings, phases, watches: the tables of a recipe
rows        storing, store, columns, orders, files: pairs on disk, read by memory map
            mixture, partners, relevance, held_out: one task a batch, what is right for whom, what is kept
            mined, teachers, paraphrases, feeding: negatives, a teacher's vectors, other words, ids as served
objectives  contrast, judge, losses/: the embedder's batch, the reranker's, and their equations
            language, infill, names, head: the language model of networks from scratch
start       scratch, tokenizer, lexicon, start: from nothing
            checkpoint_start, lora, adapters, adapt: from a model, with or without adapters
the loop    loop, gradcache, encoders, parallel, checkpoints
care        guards, served, progress, curves: what stops a wasted run, and what shows a good one
"""
