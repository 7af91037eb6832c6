"""What is done with predictions: contributions, which adapter rules a place, and when a contribution is taken anew."""
