"""Renders reports as one self-contained HTML page: no script, and no external resources.

`contents` defines the data of the page; `page` renders it.
"""
