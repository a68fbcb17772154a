"""Owns the mails that carry security notices. It must not know what made a notice, nor any patient.

A mail says what kind of thing happened and when; no name of a patient, no link, no code: people come back the way they know.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from vault.model import Micros
from vault.people.notices import Notice
from vault.settings import MailSettings

TIMEOUT_S = 10

WORDS: dict[Notice, tuple[str, str]] = {
    Notice.NEW_PLACE: ("Connexion depuis un nouveau lieu", "Signed in from a new place"),
    Notice.LOCKED: ("Compte bloqué après des échecs répétés", "Account locked after repeated failures"),
    Notice.UNLOCKED: ("Compte débloqué", "Account unlocked"),
    Notice.PASSWORD_CHANGED: ("Mot de passe modifié", "Password changed"),
    Notice.FACTOR_CHANGED: ("Téléphone changé", "Telephone changed"),
    Notice.PASSKEY_ADDED: ("Clé d’accès ajoutée", "Passkey added"),
    Notice.PASSKEY_REMOVED: ("Clé d’accès retirée", "Passkey removed"),
    Notice.RECOVERY_CODE_USED: ("Code de secours utilisé", "Recovery code used"),
    Notice.RECOVERY_CODES_RENEWED: ("Nouveaux codes de secours", "New recovery codes"),
    Notice.RESET_REQUESTED: ("Réinitialisation demandée", "Reset asked for"),
    Notice.RESET_APPROVED: ("Réinitialisation approuvée", "Reset approved"),
    Notice.RESET_REFUSED: ("Réinitialisation refusée", "Reset refused"),
    Notice.ACCOUNT_WAITING: ("Un compte attend votre approbation", "An account waits for your approval"),
    Notice.OWNER_ADDED: ("Un titulaire a été ajouté", "An owner was added"),
    Notice.ROLE_CHANGED: ("Votre rôle a été modifié", "Your role was changed"),
    Notice.BREAK_GLASS: ("Un dossier a été ouvert en urgence", "A file was opened in an emergency"),
    Notice.BREAK_GLASS_REVIEW: ("Un accès en urgence attend son contrôle", "An emergency access waits for its review"),
    Notice.QUARANTINED: ("Un fichier infecté a été mis en quarantaine", "An infected file was put in quarantine"),
    Notice.ACCOUNT_DORMANT: ("Un compte n’a pas servi depuis longtemps", "An account has not been used for long"),
    Notice.ACCOUNT_CLOSED: ("Un compte inutilisé a été fermé", "An unused account was closed"),
    Notice.ACCOUNT_REMOVED: ("Un compte fermé a été supprimé", "A closed account was removed"),
    Notice.ACCOUNT_KEPT: ("Un compte inutilisé attend votre décision", "An unused account waits for your decision"),
}

BODY = """\
{french} — {at} (UTC)

Si vous n’en êtes pas à l’origine, prévenez aussitôt le titulaire du cabinet.
Connectez-vous à Coffre comme d’habitude pour en savoir plus : ce message ne contient volontairement aucun lien.

--

{english} — {at} (UTC)

If this was not you, tell the practice's owner at once.
Sign in to Coffre the way you always do to know more: on purpose, this message holds no link.
"""


def letter(kind: Notice, at: Micros, sender: str, address: str) -> EmailMessage:
    """The mail that carries one notice."""
    french, english = WORDS[kind]
    when = datetime.fromtimestamp(at / 1_000_000, UTC)
    message = EmailMessage()
    message["From"] = sender
    message["To"] = address
    message["Subject"] = f"Coffre : {french}"
    message["Date"] = format_datetime(when)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "coffre.invalid")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(BODY.format(french=french, english=english, at=f"{when:%d/%m/%Y %H:%M}"))
    return message


Send = Callable[[EmailMessage], None]
"""Hands one mail over. Raises OSError (smtplib's errors are) where it could not."""


def by_smtp(settings: MailSettings) -> Send:
    """Hand mails to the configured server, over TLS unless it is on this machine."""
    host, _, port = settings.smtp.rpartition(":")

    def send(message: EmailMessage) -> None:
        with smtplib.SMTP(host.strip("[]"), int(port), timeout=TIMEOUT_S) as client:
            if not settings.is_local:
                client.starttls(context=ssl.create_default_context())
            if settings.username and settings.password_file is not None:
                client.login(settings.username, settings.password_file.read_text(encoding="utf-8").strip())
            client.send_message(message)

    return send
