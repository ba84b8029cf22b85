"""What is computed: network shapes, the Qwen3 decoder over packed tokens, tokens, and model directories.

In: a model directory (or hub id) and token ids. Out: hidden states of the pooled tokens.
"""
