"""The catalogues of the interface: English stands in the code, French in ``fr/LC_MESSAGES/messages.po``."""
