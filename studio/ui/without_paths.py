"""Error texts for a browser: where a file lies on this machine is told to the log, its name to the page."""

from __future__ import annotations

import re

# A drive or a root, folders, and the last part, which stays; not the //host of an address.
_PATH = re.compile(r"""(?<![\w/:.])(?:[A-Za-z]:\\|~?/(?!/))(?:[^\s/\\'"`,;:|<>]+[/\\])+(?=[^\s/\\'"`,;:|<>])""")


def without_paths(words: str) -> str:
    """`words` with every absolute path cut to the name at its end."""
    return _PATH.sub("", words)
