"""The part of the facade that looks after what a project keeps: proving, healing, removing."""

from thence.execution.site import Site

__all__ = ["Upkeep"]


class Upkeep:
    """What a project can do with the content that it keeps.

    Attributes:
        site: The parts of the project.
    """

    site: Site
