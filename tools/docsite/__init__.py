"""The documentation as a site: docs/ and the project's other pages, built by Sphinx, links checked. ``make docs``."""
