"""The shared cache: results of a team in an object store, read through and written behind."""
