"""How good the pictures are: classifiers, distances, connected components, attributes."""
