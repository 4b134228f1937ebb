"""`nest-events doctor`: checks, and what they find."""
