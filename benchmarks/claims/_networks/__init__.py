"""Networks shared by several claims; imports only from data and engine."""
