"""The eight emotions, in the one order used everywhere, and what else is known of each."""

from typing import Final

EMOTIONS: Final = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""Order of the model's outputs, of probabilities in events, and of rows in every table."""

HIGH: Final = ("happy", "angry", "fearful", "surprised")
LOW: Final = ("neutral", "calm", "sad")
"""Activation of the emotions: how stirred a voice is. Disgust is shown both ways and counts for neither."""
