"""Who did what: a line for each connection, session, denial, throttle, kill and policy."""
