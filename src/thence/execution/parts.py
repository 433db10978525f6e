"""Clones that hold a part of their project: what is not here is said to be elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from thence.errors import NotFound
from thence.execution.site import Site

__all__ = ["explained"]


@contextmanager
def explained(site: Site, ref: str) -> Iterator[None]:
    """In a clone that holds a part, say of what is not found how it is fetched.

    Raises:
        NotFound: What the block did not find.
    """
    try:
        yield
    except NotFound as error:
        if site.home is None or not site.home.only:
            raise
        raise NotFound(
            f"{ref} is not in this clone",
            why=f"It holds only {', '.join(site.home.only)}.",
            hint=f"If it is at home, fetch it: thence pull --only {ref}",
            about=ref,
        ) from error
