"""What a request may hold that comes from the page or over HTTP: names, never places on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from lora_loom.pipelines import registry
from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.request import GenerationRequest

NAME = re.compile(r"[\w-]{1,64}")


def check_public(request: GenerationRequest) -> None:
    """Raise SettingError for a setting that is the path of a file; in Python and the command line it may be one."""
    method = registry.methods().get(request.method)
    for setting in method.path_settings() if method else ():
        value = str(request.settings.get(setting, "auto"))
        if not NAME.fullmatch(value) or Path(value).exists():
            raise SettingError(
                f"{setting} takes a name here, not a file",
                expected="auto, none, or the name of one that is installed",
                found="a path",
                remedy="Use `loom generate` or Python for a file of your own",
            )
