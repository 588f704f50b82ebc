"""Every setting, defined once, and where its value comes from: server, engines, REST shim and runners read it here."""
