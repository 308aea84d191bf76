"""A robot that boots by itself: one package, a watched service, signed models and system updates that can go back."""
