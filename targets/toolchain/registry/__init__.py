"""Images of toolchains in a registry: asked for, verified, pulled and pushed by the engine."""
