"""What is inside a file: recognise it, load it, save it, compare it. One module per media type."""
