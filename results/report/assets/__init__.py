"""The page's own scripts and style."""
