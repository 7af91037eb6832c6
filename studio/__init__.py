"""The product around the engine: library of LoRAs, session, jobs, records, command line and user interface."""
