"""The report: one self-contained page, and Markdown, of what was measured, what it cost, and what it looks like."""
