"""What the authors of thence test with, for authors of stores and other parts.

- `thence.testing.store.StoreContract`: every promise of a store as a test; subclass it.
- `thence.testing.faulty.FaultyStore`: a store that fails as you say.

`thence.testing.store` and what it uses need pytest and Hypothesis: `pip install 'thence[test]'`.
"""
