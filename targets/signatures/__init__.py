"""Signatures of files: made with a key file or an identity, held in DSSE envelopes."""
