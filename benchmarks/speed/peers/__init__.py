"""One file a library: how its users would run an embedding model, and nothing of the others."""
