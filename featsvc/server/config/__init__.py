"""What the settings mean here: the configuration of the gateway, keys and devices."""
