"""The vault's records: patients, their documents, the inbox, disposal. Each room knows those named before it."""
