"""The model hub: whether it can be reached, asked once and quickly, and which LoRA of a repository is meant."""

from __future__ import annotations

import importlib
import socket
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from lora_loom.pipelines.errors import AdapterFileError

PATIENCE = 3.0  # seconds for a connection; the hub's own client tries for half a minute
_WHOLE = "pytorch_lora_weights.safetensors"  # diffusers' name for the LoRA of a repository
_OTHERS = ("scheduler", "optimizer", "checkpoint")  # files that are no LoRA to draw with, as diffusers leaves them out


def only_cached() -> bool:
    """Whether only what is on this machine can be had: HF_HUB_OFFLINE is set, or the hub is out of reach."""
    hub: Any = importlib.import_module("huggingface_hub.constants")
    return bool(hub.HF_HUB_OFFLINE) or not _reached(str(hub.ENDPOINT))


@cache
def _reached(endpoint: str) -> bool:
    if getproxies():
        return True  # a proxy speaks for it, and only its client knows how to ask
    address = urlsplit(endpoint)
    answered = threading.Event()

    def ask() -> None:
        try:
            port = address.port or (443 if address.scheme == "https" else 80)
            socket.create_connection((address.hostname or "", port), PATIENCE).close()
            answered.set()
        except OSError:
            pass

    thread = threading.Thread(target=ask, daemon=True)  # looking up a name has no time limit of its own
    thread.start()
    thread.join(PATIENCE)
    return answered.is_set()


def lora_file(repository: str, weight_name: str | None, options: Mapping[str, Any]) -> Path:
    """The LoRA of a repository on the hub, from the cache where it is there.

    `options` are those of huggingface_hub (revision, subfolder, token and so on). Without a `weight_name` it is the one
    LoRA there is. Raises AdapterFileError where there is none, or several, or nothing can be fetched.
    """
    client: Any = importlib.import_module("huggingface_hub")
    cached = only_cached() or bool(options.get("local_files_only"))
    try:
        name = weight_name or _only_lora(client, repository, options, cached=cached)
        return Path(client.hf_hub_download(repository, name, **{**options, "local_files_only": cached}))
    except (OSError, ValueError) as error:
        why = "the hub cannot be reached, and the file is not on this machine" if cached else _first_line(error)
        raise AdapterFileError(
            f"the LoRA {repository} could not be fetched",
            path=repository,
            expected="a file, a folder, or a hub id owner/name with a connection or a cached copy",
            found=why,
            remedy="Check the name, or download the file and give its path.",
        ) from error


def _only_lora(client: Any, repository: str, options: Mapping[str, Any], *, cached: bool) -> str:
    if cached:
        return _WHOLE  # without asking the hub there is only the name that diffusers gives
    told = client.model_info(repository, revision=options.get("revision"), token=options.get("token"))
    folder = f"{options['subfolder'].rstrip('/')}/" if options.get("subfolder") else ""
    files = [each.rfilename for each in told.siblings or ()]
    return chosen_lora(repository, [name.removeprefix(folder) for name in files if name.startswith(folder)])


def chosen_lora(source: str, files: list[str]) -> str:
    """The one LoRA among file names: the one that diffusers names so, or the only .safetensors file.

    Raises AdapterFileError, with the names, where there is none or several.
    """
    found = sorted(name for name in files if name.endswith(".safetensors") and not any(map(name.__contains__, _OTHERS)))
    if _WHOLE in found:
        return _WHOLE
    if len(found) != 1:
        raise AdapterFileError(
            f"{source} does not hold one LoRA",
            path=source,
            expected="one .safetensors file, or weight_name to choose among several",
            found=", ".join(found[:5]) or "none",
        )
    return found[0]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
