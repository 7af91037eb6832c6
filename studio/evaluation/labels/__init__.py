"""Labels by people: what is asked, how answers are kept, and how far a judge agrees with them."""
