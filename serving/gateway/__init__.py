"""The gateway: an OpenAI-compatible front of the engines, with rails, routes and a traffic log."""
