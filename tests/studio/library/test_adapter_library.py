"""AdapterLibrary: cards from headers and sidecars, names that are unique, errors that help."""

import hashlib
import os

import pytest

from lora_loom.pipelines.errors import AdapterFileError, UnknownAdapterError
from lora_loom.studio.library import adapter_library as library_module
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.library.responses import curve_of


@pytest.fixture
def folder(tmp_path, write_lora):
    write_lora(tmp_path / "owlet.safetensors", title="Owlet", category="Character", triggers="owlet", strength=0.9)
    write_lora(tmp_path / "crown.safetensors", triggers="crown, golden", metadata={"modelspec.title": "Golden crown"})
    return tmp_path


def test_a_card_holds_what_header_and_sidecar_say(folder):
    card = AdapterLibrary([folder]).find("owlet")
    assert (card.title, card.category, card.trigger, card.strength) == ("Owlet", "character", "owlet", 0.9)
    assert (card.rank, card.problem, card.preview_path) == (2, "", None)
    assert card.sha256 == hashlib.sha256(card.path.read_bytes()).hexdigest()
    assert card.id.startswith("a_")
    assert "owlet" not in card.id


def test_a_card_without_a_sidecar_speaks_from_the_header(folder):
    card = AdapterLibrary([folder]).find("crown")
    assert (card.title, card.triggers, card.strength) == ("Golden crown", ("crown", "golden"), 1.0)


def test_a_folder_gives_the_category(folder, write_lora):
    write_lora(folder / "Styles" / "ink.safetensors")
    assert AdapterLibrary([folder]).find("ink").category == "styles"


def test_a_broken_file_gets_a_card_that_says_why(folder):
    (folder / "bad.safetensors").write_bytes(b"\x80\x04pickle")
    card = AdapterLibrary([folder]).find("bad")
    assert "bad.safetensors" in card.problem
    assert (card.rank, card.base_family) == (None, "unknown")


def test_an_unknown_name_is_answered_with_close_ones(folder):
    with pytest.raises(UnknownAdapterError, match="Did you mean owlet") as caught:
        AdapterLibrary([folder]).find("owlett")
    assert "2 LoRAs" in caught.value.found


def test_files_of_one_name_get_their_folder_before_it(folder, write_lora):
    for author in ("anna", "ben"):
        write_lora(folder / author / "ink.safetensors")
    library = AdapterLibrary([folder])
    assert {"anna/ink", "ben/ink", "owlet"} < {card.name for card in library.cards()}
    assert library.find("anna/ink").path.parent.name == "anna"
    with pytest.raises(UnknownAdapterError, match="several LoRAs") as caught:
        library.find("ink")
    assert "anna/ink" in caught.value.found


def test_a_root_inside_another_gives_no_second_card(folder, write_lora):
    write_lora(folder / "styles" / "ink.safetensors")
    assert len(AdapterLibrary([folder, folder / "styles", folder]).cards()) == 3


def test_a_link_out_of_the_root_is_left_out(folder, tmp_path_factory, write_lora):
    outside = write_lora(tmp_path_factory.mktemp("outside") / "secret.safetensors")
    (folder / "link.safetensors").symlink_to(outside)
    assert "link" not in {card.name for card in AdapterLibrary([folder]).cards()}


def test_scanning_again_reads_only_what_changed(folder, monkeypatch, write_lora):
    library = AdapterLibrary([folder])
    before = library.scan()
    read = []
    original = library_module.read_card
    monkeypatch.setattr(library_module, "read_card", lambda *a, **k: read.append(a[1].name) or original(*a, **k))
    assert library.scan() == before
    assert read == []
    owlet = folder / "owlet.json"
    owlet.write_text('{"title": "Other owlet"}')
    write_lora(folder / "new.safetensors")
    assert [card.title for card in library.scan() if card.name == "owlet"] == ["Other owlet"]
    assert sorted(read) == ["new.safetensors", "owlet.safetensors"]


def test_a_new_file_is_found_without_an_explicit_scan(folder, write_lora):
    library = AdapterLibrary([folder])
    library.scan()
    write_lora(folder / "late.safetensors")
    assert library.find("late").name == "late"


def test_a_removed_file_has_no_hash(folder):
    card = AdapterLibrary([folder]).find("owlet")
    os.remove(card.path)
    with pytest.raises(AdapterFileError, match="cannot be read"):
        _ = card.sha256


def test_ids_lead_back_to_their_cards(folder):
    library = AdapterLibrary([folder])
    for card in library.cards():
        assert library.by_id(card.id) == card
    with pytest.raises(UnknownAdapterError):
        library.by_id("../../etc/passwd")


def test_a_look_up_reads_no_folder(folder, monkeypatch):
    library = AdapterLibrary([folder])
    library.scan()
    walked = []
    monkeypatch.setattr(library_module, "adapter_files", lambda root: walked.append(root) or iter(()))
    assert library.find("owlet").name == "owlet"
    assert library.by_id(library.find("crown").id).name == "crown"
    assert not walked
    with pytest.raises(UnknownAdapterError):
        library.find("another")  # which may be a new file
    assert walked == [folder]


def test_listeners_hear_file_by_file(folder, write_lora):
    library = AdapterLibrary([folder])
    heard = []
    end = library.subscribe(lambda changes: heard.extend((change.kind, change.card.name) for change in changes))
    library.scan()
    assert heard == [("added", "crown"), ("added", "owlet")]
    heard.clear()
    library.scan()
    assert heard == []
    write_lora(folder / "new.safetensors")
    (folder / "owlet.json").write_text('{"title": "Other owlet"}')
    (folder / "crown.safetensors").unlink()
    library.scan()
    assert sorted(heard) == [("added", "new"), ("changed", "owlet"), ("gone", "crown")]
    end()
    heard.clear()
    (folder / "new.safetensors").unlink()
    library.scan()
    assert heard == []


def test_one_file_is_looked_at_alone(folder, monkeypatch, write_lora):
    library = AdapterLibrary([folder])
    library.scan()
    monkeypatch.setattr(library_module, "adapter_files", lambda root: pytest.fail("the folders were walked"))
    path = write_lora(folder / "new" / "fox.safetensors")
    assert library.refresh(path).name == "fox"
    assert library.find("fox").category == "new"
    path.unlink()
    assert library.refresh(path) is None
    assert "fox" not in {card.name for card in library.cards()}
    assert library.refresh(folder.parent / "elsewhere.safetensors") is None


def test_a_second_file_of_a_name_changes_the_first(folder, write_lora):
    library = AdapterLibrary([folder])
    library.scan()
    heard = []
    library.subscribe(lambda changes: heard.extend((change.kind, change.card.name) for change in changes))
    library.refresh(write_lora(folder / "anna" / "owlet.safetensors"))
    assert sorted(heard) == [("added", "anna/owlet"), ("changed", f"{folder.name}/owlet")]


def test_links_that_lead_nowhere_hide_no_other_file(folder):
    (folder / "ring.safetensors").symlink_to("ring.safetensors")
    (folder / "gone.safetensors").symlink_to("nowhere.safetensors")
    (folder / "owlet.png").symlink_to("owlet.png")
    os.mkfifo(folder / "pipe.safetensors")
    assert [card.name for card in AdapterLibrary([folder]).cards()] == ["crown", "owlet"]


def test_sidecars_and_previews_are_not_fetched_from_outside(folder, tmp_path_factory, write_lora):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.json").write_text('{"description": "SECRET"}')
    (outside / "secret.png").write_bytes(b"SECRET")
    (folder / "crown.json").unlink()
    (folder / "crown.json").symlink_to(outside / "secret.json")
    (folder / "crown.png").symlink_to(outside / "secret.png")
    (folder / "crown.response.json").symlink_to(outside / "secret.json")
    card = AdapterLibrary([folder]).find("crown")
    assert (card.description, card.preview_path) == ("", None)
    assert any("crown.json: a link that leads out of the library" in remark for remark in card.remarks)
    assert curve_of(card) is None
    write_lora(folder / "anna" / "ink.safetensors")  # a link inside the library is one
    (folder / "anna" / "ink.json").symlink_to(folder / "owlet.json")
    assert AdapterLibrary([folder]).find("ink").title == "Owlet"


def test_a_name_that_is_no_text_gets_a_card_that_can_be_shown_and_found(folder, write_lora):
    path = write_lora(folder / "new.safetensors")
    os.rename(path, os.fsencode(folder) + b"/caf\xe9.safetensors")
    library = AdapterLibrary([folder])
    (card,) = (card for card in library.cards() if card.name.startswith("caf"))
    card.name.encode()
    card.title.encode()
    assert library.find(card.name).path == card.path
    assert card.rank == 2


def test_one_bad_sidecar_hides_no_other_lora(folder):
    for text in ('{"preferred weight": 1' + "0" * 400 + "}", '{"title": "\\ud800"}', "[" * 100_000, '{"a": 1, "a": 2}'):
        (folder / "crown.json").write_text(text)
        library = AdapterLibrary([folder])
        assert [card.name for card in library.cards()] == ["crown", "owlet"]
        assert library.find("crown").title == "Golden crown"
        assert any(remark.startswith("crown.json: ") for remark in library.find("crown").remarks)


def test_a_file_is_a_lora_only_once_it_was_added_by_its_path(folder, tmp_path_factory, write_lora):
    library, elsewhere = AdapterLibrary([folder]), tmp_path_factory.mktemp("elsewhere")
    paths = [elsewhere / "ink.safetensors", elsewhere / "crown.safetensors"]
    for path in paths:
        write_lora(path)
        with pytest.raises(UnknownAdapterError, match="there is no LoRA called"):
            library.find(str(path))
    assert library.find_or_add(str(paths[0])).name == "ink"
    assert library.add(paths[1]).name == f"{elsewhere.name}/crown"
    assert library.find("ink").path == paths[0]
    assert {card.path for card in library.scan()} >= set(paths)
    assert library.find_or_add("owlet").path == folder / "owlet.safetensors"
    assert library.add(folder / "owlet.safetensors").name == "owlet"
    for wrong in (elsewhere / "gone.safetensors", elsewhere, folder / "owlet.json"):
        with pytest.raises(UnknownAdapterError, match="there is no LoRA file"):
            library.add(wrong)
