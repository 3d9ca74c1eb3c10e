"""What tests share: small projects, stand-ins, faults to plant, and programs for toolchains."""
