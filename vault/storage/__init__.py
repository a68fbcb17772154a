"""Storage: tables, transactions, migrations and sealed blobs. It must not know what the sealed bytes say."""
