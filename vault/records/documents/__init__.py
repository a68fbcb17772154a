"""Documents: taken in, sealed, filed, looked at, moved; what is infected is set apart."""
