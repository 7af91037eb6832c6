"""The suite `runtime`: one file per group of rows; the ids are those of the list of speed goals (C1 to C14)."""
