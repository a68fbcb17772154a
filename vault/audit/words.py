"""Owns what each action is called for people, in French and in English. It must not know anything else."""

from __future__ import annotations

from vault.audit.events import Action

_TABLE = """
auth.login|Connexion : mot de passe|Sign-in: password
auth.totp|Connexion : second facteur|Sign-in: second factor
auth.stepup|Second facteur redemandé|Second factor asked again
auth.logout|Déconnexion|Sign-out
auth.session_expired|Session expirée|Session expired
auth.session_revoked|Session fermée à distance|Session revoked
auth.locked|Compte verrouillé|Account locked
auth.unlocked|Compte déverrouillé|Account unlocked
auth.password_changed|Mot de passe changé|Password changed
auth.password_reset|Mot de passe réinitialisé|Password reset
auth.totp_enrolled|Second facteur installé|Second factor set up
auth.totp_reset|Second facteur réinitialisé|Second factor reset
auth.recovery_code_used|Code de secours utilisé|Recovery code used
auth.passkey_added|Clé d’accès ajoutée|Passkey added
auth.switch_user|Changement d’utilisateur|User switched
user.create|Compte créé|Account created
user.update|Compte modifié|Account changed
user.disable|Compte désactivé|Account disabled
user.enable|Compte réactivé|Account enabled
user.delete|Compte supprimé|Account deleted
role.grant|Rôle donné|Role granted
role.revoke|Rôle retiré|Role revoked
team.add|Ajout à l’équipe de soins|Added to the care team
team.remove|Retrait de l’équipe de soins|Removed from the care team
locum.window_set|Période de remplacement fixée|Locum period set
patient.create|Dossier patient créé|Patient created
patient.view|Dossier patient consulté|Patient viewed
patient.list|Liste de patients consultée|Patients listed
patient.search|Recherche de patient|Patient search
patient.update|Identité modifiée|Identity changed
patient.merge|Dossiers fusionnés|Patients merged
patient.unmerge|Fusion annulée|Merge undone
patient.restrict|Accès au dossier restreint|Patient restricted
patient.erase|Dossier effacé|Patient erased
patient.report_given|Relevé d’accès remis au patient|Access report given to the patient
document.upload|Document déposé|Document uploaded
document.view|Document consulté|Document viewed
document.preview|Fiche du document consultée|Document description viewed
document.download|Document téléchargé|Document downloaded
document.print|Document imprimé|Document printed
document.replace|Document remplacé|Document replaced
document.metadata|Description modifiée|Description changed
document.refile|Document reclassé|Document refiled
document.integrate|Document vu et validé|Document integrated
document.send|Document envoyé|Document sent
document.link_create|Lien de partage créé|Link created
document.link_open|Lien de partage ouvert|Link opened
document.link_revoke|Lien de partage révoqué|Link revoked
document.hold_set|Conservation forcée posée|Hold set
document.hold_clear|Conservation forcée levée|Hold cleared
document.delete|Document supprimé|Document deleted
document.restore|Document rétabli|Document restored
document.quarantine|Document mis en quarantaine|Document quarantined
document.rescan|Document en quarantaine analysé de nouveau|Quarantined document scanned again
document.release|Document sorti de quarantaine|Document released from quarantine
document.integrity_check|Intégrité vérifiée|Integrity checked
document.integrity_failure|Intégrité en défaut|Integrity failure
access.denied|Accès refusé|Access denied
access.request|Accès demandé|Access requested
access.grant|Accès accordé|Access granted
access.revoke|Accès retiré|Access revoked
access.breakglass|Bris de glace|Break-glass
access.breakglass_end|Fin de bris de glace|Break-glass ended
access.breakglass_review|Bris de glace revu|Break-glass reviewed
export.portability|Export de portabilité|Portability export
export.patient_copy|Copie du dossier remise|Copy given to the patient
export.bulk|Export en masse|Bulk export
audit.view|Journal consulté|Log viewed
audit.search|Recherche dans le journal|Log searched
audit.export|Journal exporté|Log exported
audit.reveal_identity|Identités dévoilées|Identities revealed
audit.verify|Journal vérifié|Log verified
audit.alert_raised|Alerte levée|Alert raised
audit.alert_closed|Alerte close|Alert closed
audit.sample_reviewed|Accès tiré au sort revu|Sampled access reviewed
audit.subject_erased|Traces d’un patient effacées|A patient's traces erased
audit.purge|Journal purgé|Log purged
key.create|Clé créée|Key created
key.rotate|Clé renouvelée|Key rotated
key.rewrap|Clés ré-enveloppées|Keys rewrapped
key.destroy|Clé détruite|Key destroyed
key.unwrap_refused|Clé altérée refusée|Altered key refused
hsm.unavailable|Module de clés indisponible|Key module unavailable
hsm.recovered|Module de clés rétabli|Key module recovered
hsm.login_failed|Code du module de clés refusé|Key module PIN refused
log.genesis|Ouverture du journal|Log opened
log.heartbeat|Journal actif|Log alive
log.key_rotated|Clé du journal renouvelée|Log key rotated
log.epoch_opened|Nouvelle époque du journal|New epoch of the log
log.witness_conflict|Désaccord du témoin|Witness conflict
log.rollback_detected|Retour en arrière détecté|Rollback detected
system.start|Démarrage|Start
system.stop|Arrêt|Stop
system.unclean_start|Redémarrage après arrêt brutal|Start after an unclean stop
system.config_changed|Réglages modifiés|Settings changed
system.backup|Sauvegarde|Backup
system.restore|Restauration|Restore
system.restore_drill|Essai de restauration|Restore drill
system.clock_step|Horloge déplacée|Clock moved
privacy.breach_declared|Violation de données déclarée|Breach declared
privacy.breach_closed|Violation de données close|Breach closed
privacy.request_opened|Demande d’un patient ouverte|Patient request opened
privacy.request_closed|Demande d’un patient close|Patient request closed
privacy.retention_proposed|Élimination proposée|Disposal proposed
privacy.retention_approved|Élimination approuvée|Disposal approved
"""

_ROWS = [line.split("|") for line in _TABLE.strip().splitlines()]

WORDS: dict[str, dict[Action, str]] = {
    "fr": {action: french for slug, french, _ in _ROWS for action in Action if action.value == slug},
    "en": {action: english for slug, _, english in _ROWS for action in Action if action.value == slug},
}
"""Language → action → label."""
