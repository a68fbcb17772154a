"""Sealing: plaintext in, ciphertext out. It must not know HTTP, policy or who asks."""
