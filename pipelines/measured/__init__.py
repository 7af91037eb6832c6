"""What is measured of adapters on a base: responses to strength, frequency profiles and influence."""
