"""Data sets shared by several claims; imports only from the engine."""
