"""How a picture was made, kept inside its PNG: the record, the texts of PNG files, and the parameters of A1111."""
