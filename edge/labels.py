"""The eight emotions, in the one order used everywhere, and what else is known of each."""

from typing import Final

EMOTIONS: Final = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""Order of the model's outputs, of probabilities in events, and of rows in every table."""
