"""The kernel: the words every other room uses, and no opinions."""
