"""A recipe meets a machine: recipes, where they start, running and scoring them."""
