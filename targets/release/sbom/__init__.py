"""The software bill of materials of a release, as CycloneDX; nothing else imports that library."""
