"""What the curate stage writes into its folder, by name."""

KEPT_FILE = "pairs.parquet"
DROPPED_FILE = "dropped.parquet"
LEDGER_FILE = "ledger.json"
LEDGER_TABLE = "ledger.md"
# What the rows show by themselves, by piece; it serves resuming only.
ROWS_FOLDER = "rows"
