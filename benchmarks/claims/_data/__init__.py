"""What several claims learn from; imports of the claims the engine alone."""
