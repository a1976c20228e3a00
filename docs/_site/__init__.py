"""What the documentation makes while it is built: pictures, figures, formulas."""
