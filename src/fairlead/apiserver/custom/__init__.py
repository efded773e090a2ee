"""Custom resources: definitions become Resources as soon as they are durable."""
