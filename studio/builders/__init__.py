"""How the pocket base, its judge and its adapters are made: one command per part, each resumable."""
