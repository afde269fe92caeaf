"""One module a verb. Each has `register(app)`, and imports what is heavy only when the verb runs."""
