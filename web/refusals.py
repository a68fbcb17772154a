"""Owns why an act on people was refused, in words. It must not know the pages that show it."""

from __future__ import annotations

from flask_babel import LazyString
from flask_babel import lazy_gettext as _

from vault.errors import VaultError
from vault.people.unused import Duty

WHY: dict[str, LazyString] = {
    "last_owner": _("The practice keeps at least one owner: make another one first."),
    "own_role": _("Nobody changes their own role: ask another owner."),
    "last_member": _("The last member of a care team stays: add another one first."),
    "partitioned": _("Among independent practitioners, give access for a time instead."),
    "not_active": _("The account is not active."),
    "known_password": _("Somebody has signed in to this account already: its password is reset by two people."),
    "not_closed": _("Only a closed account is removed: close it first."),
    "removed": _("This account was removed: there is no way back. Make a new one."),
    "merged": _("This file was merged into another one meanwhile: open the one that was kept."),
    "qualified_ins": _("Two different qualified INS are two persons: these files are never merged."),
    "partitioned_merge": _("Independent practitioners keep their own files: only those of the same team are merged."),
    "not_followed": _("Whoever merges follows both patients: ask a doctor who does."),
    "same_patient": _("These two are one file already."),
    "changed": _("Somebody has corrected one of the identities meanwhile: compare again."),
    "too_late": _("A merge is undone within 30 days. Refile the documents one by one instead."),
    "merged_again": _("This file was itself merged since: undo the later merge first."),
    "undone": _("This merge was undone already."),
    "possible_duplicate": _("This patient may already be here: open the existing file, or create anyway."),
    "duties": _("The person still holds something: read below what, and say that you know."),
    "decided": _("Somebody decided already."),
    "same_person": _("A reset takes another person: neither who asked nor who is concerned."),
    "one_owner": _("One of the two people of a reset is an owner."),
    "role": _("This person’s role, or a closed account, does not allow that place."),
    "until": _("The end comes after the beginning, in the future, within a year."),
    "shape": _("This is not in the expected form."),
    "empty": _("This field is missing."),
    "username": _("2 to 128 letters, digits and . _ - + @, without spaces."),
    "display_name": _("1 to 200 printable characters."),
    "taken": _("This username is taken already, perhaps in another spelling."),
}
"""By the slug in ``details['reason']``."""
DUTIES: dict[Duty, LazyString] = {
    Duty.LAST_OWNER: _("the practice has no other owner"),
    Duty.SOLE_CARER: _("nobody else follows some of this person’s patients"),
    Duty.OPEN_REVIEW: _("an emergency access of this person waits for its review"),
    Duty.LOCUM_WINDOW: _("a replacement is planned or running"),
}
"""What somebody still holds, in words."""
OTHERWISE = _("The state of things does not allow it. Look again and try once more.")


def why(error: VaultError) -> LazyString:
    """The sentence for ``error``."""
    return WHY.get(str(error.details.get("reason", "")), OTHERWISE)
