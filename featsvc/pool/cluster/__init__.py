"""Workers as Ray actors, on this machine and others. Only `--pool ray` imports what is in here, for it imports ray."""
