"""The process that owns settings, workers and the admin socket, and never touches an event."""
