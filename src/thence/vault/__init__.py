"""Content, trees and logs in a store: what is kept, where it lies, and in which order it was."""
