"""The vault's records: patients, their documents, and the inbox. Each room knows those named before it."""
