"""Texts made from code and results are what they are made of, and a stale one is named with what renews it."""

import sys

import pytest

from lora_loom.studio.cli import generated_texts


def test_no_text_is_stale(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["generated_texts", "--check"])
    generated_texts.main()
    assert capsys.readouterr().out == ""


def test_a_stale_text_is_named_and_renewed(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("old")
    monkeypatch.setattr(generated_texts, "ROOT", tmp_path)
    monkeypatch.setattr(generated_texts, "texts", lambda: [(page, "new")])
    monkeypatch.setattr(sys, "argv", ["generated_texts", "--check"])
    with pytest.raises(SystemExit, match=r"stale: page.md. Renew with `make generated`"):
        generated_texts.main()
    assert page.read_text() == "old"
    monkeypatch.setattr(sys, "argv", ["generated_texts"])
    generated_texts.main()
    assert page.read_text() == "new"
    assert capsys.readouterr().out == "renewed page.md\n"
