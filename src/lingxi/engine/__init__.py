"""How it is computed fast: token-budget batches, shared prefixes, devices. Imports `model` only."""
