"""API keys of the gateway: who may ask which endpoints, how often, and for how many tokens."""
