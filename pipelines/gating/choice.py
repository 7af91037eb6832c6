"""Choosing the gate of a run: the one that was named, or the shipped one whose base this is."""

from __future__ import annotations

from lora_loom.pipelines.gating.gate_file import GateFile, find_gate, load_gate, shipped_gates, wrong_base
from lora_loom.pipelines.gating.rule import Gate
from lora_loom.pipelines.runtime.rules import LayerSite

AUTO = "auto"


class GateChoice:
    """Answers GateRule's question. `file` is the gate that was chosen, None as long as there is none.

    A gate that was named must be of this base: BaseModelError at the first layer that says otherwise. With `auto` the
    shipped gate of this base is taken; where there is none, every layer is left to the plain sum.
    """

    def __init__(self, name: str) -> None:
        self.file: GateFile | None = None
        self._auto = name == AUTO
        self._looked = False
        if not self._auto:
            self.file = load_gate(find_gate(name))

    @property
    def name(self) -> str:
        """Of the gate; empty without one."""
        return "" if self.file is None else self.file.name

    def __call__(self, site: LayerSite) -> Gate | None:
        module = site.layer.module
        if self._auto and not self._looked:
            self._looked = True
            files = (load_gate(path) for path in shipped_gates().values())
            self.file = next((file for file in files if file.gate.layers.knows(site.path, module)), None)
        if self.file is None:
            return None
        if self.file.gate.layers.knows(site.path, module):
            return self.file.gate
        if self._auto:
            return None
        raise wrong_base(self.file, site.path)
