"""What every package may use: files, secrets, crash reports, bundled folders."""
