"""Scripts that put no space between words: Thai, Japanese, Chinese."""

from __future__ import annotations

UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # of a character class
