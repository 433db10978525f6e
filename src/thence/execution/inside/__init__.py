"""What runs inside the Python programs of a run, whichever sensor watches their files.

The package is planted under the name `thence_inside` into Pythons where thence is not installed, so
its modules import nothing but each other, at start nothing but what each Python has loaded or built
in, and they keep to Python 3.9. What fails in here never reaches the program.
"""
