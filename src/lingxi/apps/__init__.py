"""Whole tools on top of the models: each takes files and an embedder, and hands back frozen records."""
