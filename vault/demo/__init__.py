"""The demonstration: a throw-away practice with people, patients and papers, all invented. It must not know HTTP.

``stage.prepare`` is the door. Nothing here is imported by the vault proper; it uses the same faces as everybody else.
"""
