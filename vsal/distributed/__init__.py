"""The rooms that run on Ray: actors, tasks and the driver that deals titles to them."""
