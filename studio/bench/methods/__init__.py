"""What fusion methods cost, counted on the true shapes of large bases."""
