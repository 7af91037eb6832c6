"""Error texts keep the names of files and lose where they lie."""

from lora_loom.studio.ui.without_paths import without_paths


def test_folders_go_and_names_stay():
    cases = {
        "/home/anna/loras/ink.safetensors cannot be read": "ink.safetensors cannot be read",
        "it cannot be kept in /srv/x/jobs.sqlite: full": "it cannot be kept in jobs.sqlite: full",
        "found '/tmp/a/b.png', and ~/pictures/c.png": "found 'b.png', and c.png",
        "C:\\Users\\anna\\ink.safetensors": "ink.safetensors",
        "24 LoRAs in /home/anna/loras, /opt/pocket/adapters": "24 LoRAs in loras, adapters",
    }
    for words, shown in cases.items():
        assert without_paths(words) == shown


def test_what_is_no_path_stays():
    for words in (
        "1/2 of it",
        "a/b",
        "http://127.0.0.1:7860/gradio_api/info",
        "owner/name",
        "and / or",
        "/",
        "50 %/step",
    ):
        assert without_paths(words) == words
