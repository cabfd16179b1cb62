"""Compiled training steps and updates, and what is made of them."""
