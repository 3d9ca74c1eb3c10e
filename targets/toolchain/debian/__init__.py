"""Debian packages of the base image: mirrors, lock, download and unpacking."""
