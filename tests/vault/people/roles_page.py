"""docs/roles.md, printed from the policy's matrix."""

from __future__ import annotations

from vault.model import Role
from vault.people.policy import FRESH_FACTOR_S, LOG_REACH, MATRIX, OWN_UPLOAD_GRACE_H, STEP_UP, Act, Reach

NAMES = {
    Role.RECEPTION: "Reception (Accueil)",
    Role.CLINICIAN: "Clinician (Praticien)",
    Role.LOCUM: "Locum (Remplaçant)",
    Role.AUDITOR: "Auditor (Auditeur)",
    Role.DPO: "DPO",
    Role.OWNER: "Owner (Titulaire)",
    Role.ADMIN: "Technical admin",
}
SIGNS = {
    Reach.ALWAYS: "yes",
    Reach.FOLLOWS: "follows",
    Reach.TREATS: "treats",
    Reach.TREATS_OR_OWN: "treats or own",
    Reach.RECEPTION_OPENS: "counter",
    Reach.BEFORE_INTEGRATION: "unread",
}


def page() -> str:
    """The whole page."""
    head = "| Act | " + " | ".join(NAMES[role] for role in Role) + " | Fresh factor |"
    rule = "|---|" + "---|" * (len(Role) + 1)
    rows = [_row(act) for act in Act]
    log = "| Access log | " + " | ".join(LOG_REACH[role].replace("_", " ") for role in Role) + " | |"
    return "\n".join([INTRODUCTION, head, rule, *rows, log, "", WORDS])


def _row(act: Act) -> str:
    cells = [SIGNS[MATRIX[act][role]] if role in MATRIX[act] else "–" for role in Role]
    return f"| `{act}` | " + " | ".join(cells) + f" | {'yes' if act in STEP_UP else ''} |"


INTRODUCTION = """\
# Roles and what they may do

This page is printed from `vault/people/policy.py` by a test, which fails when they differ. What is not written is refused.
"""

WORDS = f"""\
- **yes**: whatever the patient. **–**: never; the answer is 403 before anything is looked up.
- **treats**: member of the patient's care team, holder of a running grant, locum of a member of the team inside the dates, or
  an open break-glass. A patient's objection to this very person refuses all of it. On a restricted file the team is not
  enough: the person must be named on it, or break the glass. Otherwise the answer is 404, as for an id that does not exist.
- **follows**: member of the patient's care team (and named, where the file is restricted). Leave to see a file, by grant, as a
  locum or in an emergency, is never leave to make it last or to pass it on.
  `patient.merge` asks it of both files, so that nobody reads more by merging; undoing asks it of the file that was kept.
- `patient.qualify`: who calls an identity *qualifiée*, or changes one that stays so, vouches for it. Reception sets the other
  statuses, and may lower any.
- **own**: the person's own upload, until somebody has taken it over ("Vu et validé").
- **counter**: administrative documents, those marked "à remettre", and reception's own uploads until {OWN_UPLOAD_GRACE_H} h
  after they were taken over. Other documents are a line without title ("Document médical"), so the answer is 403.
- **unread**: until the document was taken over.
- **Fresh factor**: the second factor must be at most {FRESH_FACTOR_S // 60} minutes old.
- An owner's "own scope" is the same as a clinician's: the practice's files are not open to its owner as such.
- An account made by a technical admin waits for an owner's approval: nobody gives themselves a role through another account.
"""
