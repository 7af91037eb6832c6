"""Finding LoRAs by their weights, by words, by pictures and by what they do; imports pipelines alone."""
