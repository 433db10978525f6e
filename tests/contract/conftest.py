import pytest

# The contracts live in the package, where pytest would not explain failed assertions.
pytest.register_assert_rewrite("thence.testing.store", "thence.testing.machine")
