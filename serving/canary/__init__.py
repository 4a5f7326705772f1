"""Canaries: what is counted of them, how that is judged, and who watches."""
