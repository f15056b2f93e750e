"""Who may trace what: rules, what they grant to a caller, and what of an event is shown."""
