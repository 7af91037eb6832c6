"""What the banner says of a LoRA that could be loaded by force: the page's button, not a command's option."""

from lora_loom.pipelines.adapters.match import BY_FORCE
from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.studio.ui.banner import error_banner


def test_a_refusal_names_the_button_where_there_is_one():
    error = AdapterMatchError("it does not fit", remedy=f"Choose another, {BY_FORCE}")
    assert "--force" in error_banner(error)  # nothing to press: such as a file that was dropped
    error.by_force = "owlet"
    said = error_banner(error)
    assert "Choose another, or load what fits with the button below" in said
    assert "--force" not in said
    assert 'data-name="owlet"' in said
    assert error_banner(error.to_dict()) == said
