"""One execution: watched, recorded, given back and judged."""
