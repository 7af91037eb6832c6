"""Text of strangers, made fit to be shown."""

from lora_loom.pipelines.adapters.hostile_text import display_names, display_text


def test_invisible_characters_go_and_the_rest_stays(subtests):
    cases = [
        ("unet.mid_block.to_q", "unet.mid_block.to_q"),
        ("a  b\tc\r\nd", "a b c d"),
        ("\x1b[31mred\x07", "[31mred"),
        ("abc\u202egpj.exe", "abcgpj.exe"),
        ("zero\u200bwidth", "zerowidth"),
        ("Grüße, 世界 🎨", "Grüße, 世界 🎨"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
        ("", ""),
        ("\x00" * 5000 + "hidden", ""),
    ]  # fmt: skip
    for text, shown in cases:
        with subtests.test(text=text, shown=shown):
            assert display_text(text) == shown


def test_long_text_is_cut_to_the_limit():
    assert display_text("x" * 300) == "x" * 199 + "…"
    assert display_text("x " * 300, 10) == "x x x x x…"
    assert len(display_text("word " * 1000, 50)) <= 50


def test_names_are_counted_beyond_the_first_few():
    assert display_names(["a", "b"]) == "a, b"
    assert display_names(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
