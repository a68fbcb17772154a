"""The vault room: documents, patients, people, access log. It sees no Flask and no PKCS#11.

``open_vault`` is the door.
"""
