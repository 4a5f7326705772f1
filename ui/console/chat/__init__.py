"""The chat: conversations, commands and their completion, and the cards that runs are shown on."""
