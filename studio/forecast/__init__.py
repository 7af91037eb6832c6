"""How a stack of LoRAs will get along, told before drawing: the diagnosis, its page, and the forecasts of a session."""
