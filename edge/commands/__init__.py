"""One module for each command of `tonelight`: `run(args) -> exit status`."""
