"""Finished tools on the index: aligning graphs, code search, answers with citations."""
