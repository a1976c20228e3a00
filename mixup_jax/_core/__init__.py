"""The equation and what it is made of; nothing here is a method."""
