"""The agent: plans in, consent asked, steps carried out, records left."""
