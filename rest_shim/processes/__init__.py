"""The processes of the shim: their settings, sockets, logs and children."""
