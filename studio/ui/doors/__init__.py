"""What stands between the network and the page: ASGI middleware, one file for each door that stays closed."""
