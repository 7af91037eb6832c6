"""The studio in a browser: a Gradio page of tabs, one file per tab in `tabs/`, found by scan."""
