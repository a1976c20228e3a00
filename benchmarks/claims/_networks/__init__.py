"""The networks of several claims, and how they learn; on data and engine alone."""
