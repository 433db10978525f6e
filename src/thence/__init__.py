"""thence keeps everything a data-science result was made from, proves it, and gives it back.

The names here are loaded when they are first used, so that `import thence` costs next to nothing.
"""
