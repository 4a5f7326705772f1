"""The MCP server: skills as tools, the record as resources, consent by people only."""
