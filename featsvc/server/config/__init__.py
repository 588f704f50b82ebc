"""What the settings mean here: the configuration of the gateway, and devices."""
