"""What the vault refuses and why. Messages carry ids, never names, titles, codes or keys."""

from __future__ import annotations


class VaultError(Exception):
    """Everything the vault raises. ``code`` is a stable slug used by logs, audit, pages and documentation."""

    code = "vault_error"
    retryable = False

    def __init__(self, message: str = "", **details: str | int) -> None:
        super().__init__(message or self.code)
        self.details = details
        """Facts for the problem document (ids, limits, seconds); never personal data."""


class NotFound(VaultError):
    """The thing does not exist, or the actor may not know that it does: one answer for both."""

    code = "not_found"


class Forbidden(VaultError):
    """The actor's role never allows this action, whatever the object."""

    code = "forbidden"


class StepUpRequired(VaultError):
    """The act wants a fresh second factor (at most 5 minutes old)."""

    code = "step_up_required"


class SignInRefused(VaultError):
    """Wrong name, password or code, disabled or not enrolled: one answer for all causes."""

    code = "sign_in_refused"


class LockedOut(VaultError):
    """Too many failures; ``details['retry_after_s']`` says when to try again. Unknown names lock alike."""

    code = "locked_out"
    retryable = True


class SessionEnded(VaultError):
    """No live session stands behind this token: ended, expired, half-way or never there. Sign in again."""

    code = "session_ended"


class PasswordRefused(VaultError):
    """The new password breaks the policy; ``details['reason']`` is a stable slug that pages translate."""

    code = "password_refused"


class Invalid(VaultError):
    """A field is missing, unknown or malformed; ``details`` names ``field`` and ``reason``."""

    code = "invalid"


class Conflict(VaultError):
    """The state of the thing does not allow the act (already filed, already locked, held)."""

    code = "conflict"


class AlreadyPresent(VaultError):
    """These bytes are already filed; ``details['document']`` where the actor may see it."""

    code = "already_present"


class DigestMismatch(VaultError):
    """The bytes received do not match the digest that the sender announced (RFC 9530)."""

    code = "digest_mismatch"


class EmptyDocument(VaultError):
    """No byte was received."""

    code = "empty_document"


class TooLarge(VaultError):
    """The body is over the limit, ``details['limit_bytes']``."""

    code = "too_large"


class UnsupportedType(VaultError):
    """The bytes are not one of the accepted kinds; ``details['recognised']`` says what they look like."""

    code = "unsupported_type"


class Infected(VaultError):
    """The virus scanner recognised something, ``details['reason']`` is its name for it; nothing was kept."""

    code = "infected"


class Quarantined(VaultError):
    """The virus scanner recognised something, ``details['reason']`` is its name for it; the file is kept sealed and set apart.

    ``details['document']`` is its id in the quarantine, which opens nothing.
    """

    code = "quarantined"


class ScannerUnavailable(VaultError):
    """The virus scanner does not answer, and nothing may come in unscanned; nothing was kept."""

    code = "scanner_unavailable"
    retryable = True


class IncompleteBody(VaultError):
    """The sender stopped before the end; nothing was kept."""

    code = "incomplete_body"


class Tampered(VaultError):
    """Stored bytes, a wrapped key or a sealed field failed authentication. Nothing was released."""

    code = "tampered"


class NotRenderable(VaultError):
    """The document can't be shown as pages (broken, encrypted, too heavy); it can still be downloaded."""

    code = "not_renderable"


class KeysUnavailable(VaultError):
    """The key module is gone or slow: nothing can be opened, nothing was lost."""

    code = "keys_unavailable"
    retryable = True


class StorageFull(VaultError):
    """No room is left on the disk or in the store; nothing was kept."""

    code = "storage_full"
    retryable = True


class StorageUnavailable(VaultError):
    """The database or the blob store does not answer; nothing was changed."""

    code = "storage_unavailable"
    retryable = True


class LogUnavailable(VaultError):
    """The access log can't be written, so nothing may be opened."""

    code = "log_unavailable"
    retryable = True


class Busy(VaultError):
    """Too much heavy work is under way; ``details['retry_after_s']`` says when to try again."""

    code = "busy"
    retryable = True


class BadSettings(VaultError):
    """A setting is unknown, missing, weak or of the wrong kind; the message says which and what to write."""

    code = "bad_settings"


class NotInitialised(VaultError):
    """There is no vault here yet; the message names the command that makes one."""

    code = "not_initialised"
