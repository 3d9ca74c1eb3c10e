"""Reads the documentation's pages and holds what they say against the code.

Each module answers one question with ``mistakes(pages)``: a line for everything that is not so.
"""
