"""Lights: what a backend must be able to do, and the patterns it is asked to show."""
