"""Merge: several checkpoints of one network made into one, by weights given or searched on a dev set.

In: model directories of one kind, shape and tokenizer. Out: one directory with its golden file, and
`merge.json`, which says what it was made of.
"""
