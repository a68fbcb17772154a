"""What can go wrong with keys. It must not know what the keys protect."""

from __future__ import annotations


class KmsError(Exception):
    """Base of everything this room raises; it never leaves ``vault``.

    ``code`` is a stable slug for logs, audit and documentation; ``retryable`` says whether the same call may succeed later
    without an operator.
    """

    code = "keys_error"
    retryable = False


class KeysUnavailable(KmsError):
    """The token does not answer, or answers that it is gone."""

    code = "keys_unavailable"
    retryable = True


class KeysBusy(KmsError):
    """Every session of the pool stayed borrowed for the whole waiting time."""

    code = "keys_busy"
    retryable = True


class PinRefused(KmsError):
    """The token refused the PIN; latched until an operator acts, so that a restart loop can't lock a real HSM."""

    code = "pin_refused"


class KeyMissing(KmsError):
    """The registry names a key that the (present, healthy) token does not hold exactly once."""

    code = "key_missing"


class KeyDestroyed(KmsError):
    """The key was destroyed on purpose; what it wrapped is gone for good."""

    code = "key_destroyed"


class WrongToken(KmsError):
    """The token under this label is not the one on which the keys were made."""

    code = "wrong_token"


class KeyWornOut(KmsError):
    """The active master key has wrapped 2^32 secrets, the limit for random IVs (NIST SP 800-38D 8.3): rotate it."""

    code = "key_worn_out"


class UnwrapRejected(KmsError):
    """A wrapped key failed while the canary passed: forged, damaged or moved. A security event; never retried."""

    code = "unwrap_rejected"


class BudgetExceeded(KmsError):
    """This caller has used up the unwraps that it may ask for in this period."""

    code = "budget_exceeded"
    retryable = True


class Forked(KmsError):
    """The key service was used in a process other than the one that opened it."""

    code = "forked"


class BadSettings(KmsError):
    """A setting is unknown, missing or of the wrong kind; the message says which and what to write."""

    code = "bad_settings"


class ReleaseRefused(KmsError):
    """A key process was asked to destroy a key without a valid release of the vault; nothing was changed."""

    code = "release_refused"


class UnknownSuite(KmsError):
    """The wrapped key names a suite or format version that this program does not know; there is no fallback."""

    code = "unknown_suite"
