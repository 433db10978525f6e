"""A project: what people work with."""

from thence.project.facade import Project

__all__ = ["Project"]
