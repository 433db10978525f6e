"""thence keeps everything a data-science result was made from, proves it, and gives it back."""
