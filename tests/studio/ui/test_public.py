"""Requests from the page name no file of this machine."""

import pytest

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.ui.public import check_public


def test_a_gate_goes_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("x")
    methods_with_files = {name: kind.path_settings() for name, kind in methods().items() if kind.path_settings()}
    assert methods_with_files == {"arbiter": ("gate",), "gated": ("gate",)}
    for name in methods_with_files:
        for value in ("auto", "none", "pocket"):
            check_public(GenerationRequest("x", method=name, settings={"gate": value}))
        check_public(GenerationRequest("x", method=name))
        for value in (
            "/etc/passwd",
            "../gate.safetensors",
            "gate.safetensors",
            "~/gate",
            "mine",
            "",
            "a\x00b",
            "C:\\x",
        ):
            with pytest.raises(SettingError, match="a name here, not a file") as refused:
                check_public(GenerationRequest("x", method=name, settings={"gate": value}))
            assert "passwd" not in str(refused.value)
    check_public(GenerationRequest("x", method="unknown", settings={"gate": "/etc/passwd"}))  # refused elsewhere
