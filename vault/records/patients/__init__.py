"""Patients: their identities, who may open whose file, finding one, merging two."""
