"""Until when patients' files are kept, and how a file goes once two people agreed. It must not know HTTP."""
